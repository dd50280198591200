"""ONNX files in onnxruntime against `stylize`: five sizes, the style constant and as an input."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import export_case
import tiny
from metastyle_jax.export import contents, exporting, onnx_graph
from metastyle_jax.networks import stylization_network
from metastyle_jax.storage import quantization, safetensors_file, style_file

onnx = pytest.importorskip("onnx", reason="needs the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")

SIZES = ((1, 16, 16), (3, 37, 53), (2, 64, 60), (1, 18, 47), (1, 61, 23))


def test_onnxruntime_reports_nothing(tmp_path):
    # its telemetry leaves a file `.ses` in the folder for temporary files
    text = (
        "from metastyle_jax.export import onnx_file; import onnxruntime, onnx, time;"
        "from onnx import helper; value = helper.make_tensor_value_info('x', 1, [1]);"
        "graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', [value],"
        " [helper.make_tensor_value_info('y', 1, [1])]);"
        "model = helper.make_model(graph, ir_version=8,"
        " opset_imports=[helper.make_opsetid('', 17)]);"
        "onnxruntime.InferenceSession(model.SerializeToString()); time.sleep(0.5)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", text], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def draw(path: Path, images: np.ndarray, **more: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {"images": images.transpose(0, 3, 1, 2), **more}
    return session.run(None, feed)[0].transpose(0, 2, 3, 1)


def stylize(weights, style, images: np.ndarray) -> np.ndarray:
    # in one program: operation by operation each size would take many times as long
    program = jax.jit(functools.partial(stylization_network.stylize, rewrite=False))
    return np.asarray(program(weights, style, images))


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((*shape, 3), np.float32)


def properties(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("blur", [False, True])
def test_any_batch_and_size(tmp_path, blur):
    stylizer = export_case.stylizer(blur=blur)
    exported = exporting.export_stylizer(stylizer, tmp_path / "a.onnx")
    assert exported.differences.largest < 1e-5
    onnx.checker.check_model(onnx.load(exported.path), full_check=True)
    for size in SIZES if blur else SIZES[:1]:
        images = random_images(*size)
        expected = stylize(stylizer.weights, stylizer.style, images)
        np.testing.assert_allclose(draw(exported.path, images), expected, atol=1e-5)


def test_the_network_of_full_size_has_the_usual_nodes():
    params = tiny.parameter_shapes(blur=True)
    weights = {name: {"kernel": np.zeros(layer["kernel"].shape, np.float32),
                      "bias": np.zeros(layer["bias"].shape, np.float32)}
               for name, layer in params["weights"].items()}  # fmt: skip
    style = {
        name: {part: np.zeros(leaf.shape, np.float32) for part, leaf in affine.items()}
        for name, affine in params["style"].items()
    }
    model = onnx_graph.make_model(contents.Contents(weights, style, False, {}))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 16 and kinds.count("InstanceNormalization") == 15
    assert kinds.count("Resize") == 2 and kinds.count("Sigmoid") == 1
    assert model.opset_import[0].version == 17 and model.ir_version == 8


@pytest.mark.parametrize("quantize", [None, "float16", "int8"])
def test_one_graph_serves_all_styles(tmp_path, quantize):
    """Each style comes from a style file, put in the order that the file records."""
    first, second = export_case.stylizer(0), export_case.stylizer(1)
    path = tmp_path / "a.onnx"
    exporting.export_stylizer(first, path, style_input=True, quantize=quantize)
    order = json.loads(properties(path)["style_order"])
    vectors = []
    for number, stylizer in enumerate((first, second)):
        file = tmp_path / f"{number}.safetensors"
        style_file.save_style(file, stylizer.style, weights_digest="", settings={})
        arrays = safetensors_file.read(file)[0]
        vectors.append(np.concatenate([arrays[name] for name in order]))
    images = random_images(2, 37, 26)
    weights = quantization.restore(quantization.quantize(first.weights, quantize or "float32"))
    outputs = draw(path, images, style=np.stack(vectors))
    for row, stylizer in enumerate((first, second)):
        expected = stylize(weights, stylizer.style, images[row][None])
        np.testing.assert_allclose(outputs[row][None], expected, atol=2e-5)
    both = draw(path, images, style=vectors[0][None])
    np.testing.assert_allclose(both[0], outputs[0], atol=1e-6)
    assert abs(both[1] - outputs[1]).max() > 0.01


@pytest.mark.parametrize(
    "quantize, dtype, least", [("float16", "FLOAT16", 1e-6), ("int8", "INT8", 1e-4)]
)
def test_smaller_kernels(tmp_path, quantize, dtype, least):
    stylizer = export_case.stylizer()
    exported = exporting.export_stylizer(stylizer, tmp_path / "a.onnx", quantize=quantize)
    differences = exported.differences
    assert differences.largest < 1e-5
    assert least < differences.mean_by_rounding < differences.largest_by_rounding < 0.2
    constants = onnx.load(exported.path).graph.initializer
    kinds = [onnx.TensorProto.DataType.Name(each.data_type) for each in constants]
    assert kinds.count(dtype) >= len(stylizer.weights)


def test_what_is_known_travels_along(tmp_path):
    settings = {"artwork": "A: B", "data.content": "/home/me", "features.network": "vgg16:/x"}
    stylizer = export_case.stylizer(input_noise=0.1, **settings)
    exported = exporting.export_stylizer(stylizer, tmp_path / "a.onnx")
    known = properties(exported.path)
    assert known["name"] == "tiny.safetensors" and known["artwork"] == "A: B"
    assert known["producer"].startswith("metastyle_jax ") and known["input_noise"] == "0.1"
    kept = {"artwork": "A: B", "features.network": "vgg16"}
    assert json.loads(known["settings"]) == kept
    assert any("--noise=0" in note for note in exported.notes)
