"""safetensors, npz and Orbax: the arrays as another program reads them."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy

import export_case
import metastyle_jax as ms
from metastyle_jax.errors import UserError
from metastyle_jax.export import contents, exporting
from metastyle_jax.storage import digest, quantization, style_file


@pytest.fixture
def stylizer():
    return export_case.stylizer(artwork="A: B")


def test_npz_without_pickle(stylizer, tmp_path):
    exporting.export_stylizer(stylizer, tmp_path / "a.npz", "npz", quantize="int8")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        kernel, scale = file["weights/conv2/kernel"], file["weights/conv2/kernel_scale"]
        assert kernel.dtype == np.int8 and scale.shape == (8,)
        expected = stylizer.weights["conv2"]["kernel"]
        np.testing.assert_allclose(kernel * scale, expected, atol=scale.max() / 2 + 1e-6)
        np.testing.assert_array_equal(
            file["style/conv1_norm/bias"], stylizer.style["conv1_norm"]["bias"]
        )
        assert json.loads(str(file["metadata"]))["artwork"] == "A: B"


def test_orbax_by_its_public_reader(stylizer, tmp_path):
    exporting.export_stylizer(stylizer, tmp_path / "a", "orbax")
    params = ocp.PyTreeCheckpointer().restore(tmp_path / "a" / "checkpoint" / "params")
    jax.tree.map(
        lambda one, other: np.testing.assert_array_equal(np.asarray(one), np.asarray(other)),
        params,
        {"weights": dict(stylizer.weights), "style": dict(stylizer.style)},
    )
    assert json.loads((tmp_path / "a" / "about.json").read_text())["artwork"] == "A: B"


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_smaller_safetensors_are_loaded(stylizer, tmp_path, quantize):
    """`load` gives the values that the kernels have after rounding; the rest is exact."""
    path = tmp_path / "a.safetensors"
    exporting.export_stylizer(stylizer, path, "safetensors", quantize=quantize)
    again = ms.load(path)
    expected = quantization.restore(quantization.quantize(stylizer.weights, quantize))
    jax.tree.map(np.testing.assert_array_equal, dict(again.weights), expected)
    jax.tree.map(np.testing.assert_array_equal, dict(again.style), dict(stylizer.style))
    stored = safetensors.numpy.load_file(path)
    assert stored["weights/up2/kernel"].dtype.name == quantize
    assert style_file.load_params(path)[1]["weights_digest"] == digest.tree_digest(again.weights)


@pytest.mark.parametrize("shape", [(3,), (4, 1)])
def test_a_scale_of_another_shape_is_refused(stylizer, tmp_path, shape):
    path = tmp_path / "a.safetensors"
    weights = quantization.quantize(stylizer.weights, "int8")
    weights["conv1"]["kernel_scale"] = np.ones(shape, np.float32)
    arrays = {"weights": weights, "style": dict(stylizer.style)}
    flat = digest.leaves_by_path(arrays)
    metadata = style_file._metadata(style_file.PARAMS_FORMAT, flat, "", {}, "")
    safetensors.numpy.save_file(flat, path, {**metadata, "format_version": "2"})
    with pytest.raises(UserError, match="conv1/kernel_scale is the scale of no kernel"):
        style_file.load_params(path)


def test_int8_by_hand():
    """Each output channel has its scale; the largest value of a channel is kept."""
    kernel = np.zeros((1, 1, 2, 3), np.float32)
    kernel[0, 0, :, 0], kernel[0, 0, :, 1] = (1.27, -0.004), (-254.0, 100.9)
    stored = quantization.quantize({"a": {"kernel": kernel, "bias": np.ones(3)}}, "int8")["a"]
    np.testing.assert_allclose(stored["kernel_scale"], [0.01, 2.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(stored["kernel"][0, 0], [[127, -127, 0], [0, 50, 0]])
    restored = quantization.restore({"a": stored})["a"]["kernel"]
    np.testing.assert_allclose(restored[0, 0], [[1.27, -254, 0], [0, 100, 0]], rtol=1e-6)


def test_a_name_that_is_not_utf_8_is_written_out(stylizer):
    """Formats hold text that is."""
    record = dataclasses.replace(stylizer.record, name="folder/caf\udce9.safetensors")
    gathered = contents.gather(dataclasses.replace(stylizer, record=record), "float32", False)
    assert gathered.metadata["name"] == "caf\\udce9.safetensors"
    assert all(text.encode() for text in gathered.metadata.values())
