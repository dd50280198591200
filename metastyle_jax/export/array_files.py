"""Weights and style as arrays: the params file of this project, npz, and an Orbax checkpoint.

Arrays have names such as `weights/conv1/kernel` (HWIO), `weights/conv1/bias` and
`style/conv1_norm/scale`; int8 kernels come with a `kernel_scale`, see `storage.quantization`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from metastyle_jax.export.contents import Contents, Draw, Format, stylize_directly
from metastyle_jax.storage import digest, orbax_files, quantization, style_file

METADATA = "metadata"  # in an npz file: JSON
CHECKPOINT, PARAMS, ABOUT = "checkpoint", "params", "about.json"  # in the folder of Orbax


def _write_safetensors(path: Path, contents: Contents) -> None:
    noise = {"data.noise": float(contents.metadata["input_noise"])}
    settings = {**json.loads(contents.metadata["settings"]), **noise}
    style_file.save_quantized_params(path, contents.weights, contents.style, settings=settings)


def _reload_safetensors(path: Path, contents: Contents) -> list[Draw]:
    del contents
    return [_draw(style_file.load_params(path)[0])]


def _write_npz(path: Path, contents: Contents) -> None:
    arrays = {**digest.leaves_by_path(_params(contents)), METADATA: json.dumps(contents.metadata)}
    with path.open("wb") as file:  # by name, NumPy would append .npz
        np.savez(file, **arrays)


def _reload_npz(path: Path, contents: Contents) -> list[Draw]:
    del contents
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != METADATA}
    return [_draw(digest.nest(quantization.restore_arrays(arrays)))]


def _write_orbax(folder: Path, contents: Contents) -> None:
    orbax_files.save((folder / CHECKPOINT).resolve(), {PARAMS: _params(contents)})
    about = json.dumps(contents.metadata, indent=2)
    (folder / ABOUT).write_text(f"{about}\n", encoding="utf-8")


def _reload_orbax(folder: Path, contents: Contents) -> list[Draw]:
    del contents
    params = orbax_files.restore((folder / CHECKPOINT).resolve(), [PARAMS])[PARAMS]
    arrays = {name: np.asarray(leaf) for name, leaf in digest.leaves_by_path(params).items()}
    return [_draw(digest.nest(quantization.restore_arrays(arrays)))]


def _params(contents: Contents) -> dict[str, Any]:
    return {"weights": contents.weights, "style": contents.style}


def _draw(params: Mapping[str, Any]) -> Draw:
    def draw(images: np.ndarray, styles: np.ndarray) -> Any:
        del styles  # that of the file
        return stylize_directly(params["weights"], params["style"], jnp.asarray(images))

    return draw


SAFETENSORS = Format(
    _write_safetensors, _reload_safetensors, note="metastyle stylize and adapt --init read it"
)
NPZ = Format(_write_npz, _reload_npz)
ORBAX = Format(
    _write_orbax, _reload_orbax, is_folder=True, note=f"the arrays are in {CHECKPOINT}/{PARAMS}"
)
