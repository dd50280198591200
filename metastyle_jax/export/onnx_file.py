"""ONNX files: written with the package onnx, read back with onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx

from metastyle_jax.export import onnx_graph
from metastyle_jax.export.contents import Contents, Draw, Format

# onnxruntime 1.32 reports its use to Microsoft from the moment it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def write(path: Path, contents: Contents) -> None:
    """Write the network as one ONNX file, see `onnx_graph.make_model`."""
    onnx.save(onnx_graph.make_model(contents), path)


def reload(path: Path, contents: Contents) -> list[Draw]:
    """The file in onnxruntime, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # small pictures
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def call(images: np.ndarray, styles: np.ndarray) -> np.ndarray:
        feed = {"images": images.transpose(0, 3, 1, 2)}
        if contents.style_input:
            feed["style"] = styles
        return np.asarray(session.run(["stylized"], feed)[0]).transpose(0, 2, 3, 1)

    return [call]


FORMAT = Format(
    write,
    reload,
    style_input=True,
    note=f"ONNX opset {onnx_graph.OPSET}: images (N, 3, H, W) in [0, 1], any size from 16 pixels",
)
