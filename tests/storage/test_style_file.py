"""Style and parameter files, read back by the bare safetensors format."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from metastyle_jax.errors import UserError
from metastyle_jax.reporting import records
from metastyle_jax.storage import atomic, initialization
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.storage.style_file import load_params, load_style, save_params, save_style

DIGEST = "0123456789abcdef" * 4
SETTINGS = {"steps": 100, "style": "wave.jpg", "layers": ["relu1_2"]}


def make_style(widths=(4, 8)) -> dict:
    keys = jax.random.split(jax.random.key(0), len(widths))
    return {
        f"norm{index}": {
            "scale": jax.random.normal(key, (width,)),
            "bias": jnp.arange(width, dtype=jnp.float32),
        }
        for index, (key, width) in enumerate(zip(keys, widths, strict=True))
    }


def make_params() -> dict:
    key = jax.random.key(1)
    weights = {"conv1": {"kernel": jax.random.normal(key, (3, 3, 2, 4)), "bias": jnp.ones(4)}}
    return {"weights": weights, "style": make_style()}


def header_of(path: Path) -> tuple[dict, int]:
    """The JSON header and the number of data bytes, by the format's definition."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), len(data) - 8 - length


@pytest.fixture
def style_path(tmp_path) -> Path:
    path = tmp_path / "out" / "style.safetensors"
    save_style(path, make_style(), weights_digest=DIGEST, settings=SETTINGS, command="adapt.py")
    return path


@pytest.fixture
def params_path(tmp_path) -> Path:
    path = tmp_path / "params.safetensors"
    save_params(path, make_params(), settings=SETTINGS)
    return path


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


def test_a_style_file_holds_what_it_says(style_path):
    header, size = header_of(style_path)
    metadata = header.pop("__metadata__")
    assert header["norm1.scale"]["dtype"] == "F32" and header["norm1.scale"]["shape"] == [8]
    assert set(header) == {"norm0.scale", "norm0.bias", "norm1.scale", "norm1.bias"}
    assert size == 4 * 2 * (4 + 8)
    assert metadata["format"] == "metastyle_jax.style" and metadata["weights_digest"] == DIGEST
    assert json.loads(metadata["settings"]) == SETTINGS
    assert json.loads(metadata["versions"])["jax"] == jax.__version__
    assert metadata["command"] == "adapt.py"
    arrays = safetensors.numpy.load_file(style_path)
    np.testing.assert_array_equal(arrays["norm1.bias"], np.arange(8))


def test_a_style_at_default_width_has_12800_bytes_of_data(tmp_path):
    widths = (32, 64, 128, *[128] * 10, 64, 32)
    save_style(tmp_path / "style", make_style(widths), weights_digest=DIGEST, settings={})
    assert header_of(tmp_path / "style")[1] == 12_800


def test_style_round_trip(style_path):
    style, metadata = load_style(style_path, weights_digest=DIGEST, template=make_style())
    assert tree_digest(style) == tree_digest(make_style())
    assert metadata["settings"] == SETTINGS
    assert metadata["weights_digest"] == DIGEST
    assert [path.name for path in style_path.parent.iterdir()] == ["style.safetensors"]


def test_style_for_other_weights(style_path):
    with pytest.raises(UserError) as error:
        load_style(style_path, weights_digest="f" * 64, weights_name="runs/7")
    for part in (str(style_path), "0123456789ab", "runs/7", "f" * 12, "adapt.py"):
        assert part in one_line(error)


@pytest.mark.parametrize(
    ("widths", "named"), [((4,), "norm1"), ((4, 8, 8), "norm2"), ((4, 6), "norm1")]
)
def test_style_for_another_network(style_path, widths, named):
    with pytest.raises(UserError, match=f"another network.*{named}") as error:
        load_style(style_path, template=make_style(widths))
    one_line(error)


@pytest.mark.parametrize("load", [load_style, load_params])
def test_files_that_are_none(tmp_path, load):
    (tmp_path / "text").write_text("not a safetensors file, whatever its name says")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    safetensors.numpy.save_file({"a": np.ones(3, np.float32)}, tmp_path / "foreign")
    for name in ("missing", "text", "empty", "folder", "foreign"):
        with pytest.raises(UserError, match=str(tmp_path / name)) as error:
            load(tmp_path / name)
        one_line(error)


def test_the_other_kind_of_file(style_path, params_path):
    with pytest.raises(UserError, match="it is a parameter file"):
        load_style(params_path)
    with pytest.raises(UserError, match="it is a style file"):
        load_params(style_path)


@pytest.mark.parametrize("load", [load_style, load_params])
def test_truncated_and_flipped(style_path, params_path, load):
    path = style_path if load is load_style else params_path
    data = path.read_bytes()
    _, size = header_of(path)
    for length in (4, 100, len(data) - size, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(UserError) as error:
            load(path)
        one_line(error)
    for position in range(len(data) - size, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError):
            load(path)


def rewrite(path: Path, arrays: dict, **metadata: str) -> None:
    """A file with valid digests and other contents, as another program might make it."""
    old = header_of(path)[0]["__metadata__"]
    new = {**old, "digest": tree_digest(arrays), **metadata}
    safetensors.numpy.save_file(arrays, path, new)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no arrays"),
        ({"norm1.scale": np.ones(3, np.float32)}, "lacks a scale and a bias"),
        ({"norm1.gain": np.ones(3, np.float32)}, "neither"),
        ({"norm1.scale": np.ones((3, 1), np.float32)}, "shape"),
        ({"norm1.scale": np.ones(3, np.int32)}, "int32"),
        ({"a.scale": np.ones(3, np.float32), "a.bias": np.ones(4, np.float32)}, "equal shape"),
        ({"a.scale": np.full(1, np.nan, np.float32), "a.bias": np.ones(1, np.float32)}, "finite"),
    ],
)
def test_contents_that_are_no_style(style_path, arrays, message):
    rewrite(style_path, arrays)
    with pytest.raises(UserError, match=message) as error:
        load_style(style_path)
    one_line(error)


def test_later_format_and_broken_metadata(style_path):
    arrays = {f"a.{part}": np.ones(1, np.float32) for part in ("scale", "bias")}
    rewrite(style_path, arrays, format_version="3")
    with pytest.raises(UserError, match="update metastyle_jax"):
        load_style(style_path)
    rewrite(style_path, arrays, format_version="1", settings="{")
    with pytest.raises(UserError, match="metadata"):
        load_style(style_path)


def test_only_styles_are_saved(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        style = {"a": {"scale": jnp.ones((2, 3)), "bias": jnp.ones((2, 3))}}
        save_style(tmp_path / "a", style, weights_digest=DIGEST, settings={})
    with pytest.raises(ValueError, match="weights, style"):
        save_params(tmp_path / "a", {"weights": {}}, settings={})
    assert not list(tmp_path.iterdir())


def test_params_round_trip(params_path):
    params, metadata = load_params(params_path)
    assert tree_digest(params) == tree_digest(make_params())
    assert metadata["weights_digest"] == tree_digest(make_params()["weights"])
    assert metadata["settings"] == SETTINGS
    stored = safetensors.numpy.load_file(params_path)
    kernel = stored["weights/conv1/kernel"]
    np.testing.assert_array_equal(kernel, make_params()["weights"]["conv1"]["kernel"])


def test_params_in_half_the_space(tmp_path, params_path):
    path = tmp_path / "half.safetensors"
    save_params(path, make_params(), settings={}, dtype="float16")
    assert header_of(path)[1] * 2 == header_of(params_path)[1]
    params, metadata = load_params(path)
    for leaf, exact in zip(jax.tree.leaves(params), jax.tree.leaves(make_params()), strict=True):
        assert leaf.dtype == np.float32
        np.testing.assert_array_equal(leaf, np.asarray(exact).astype(np.float16))
    # a style adapted from this file names the weights as they are loaded
    assert metadata["weights_digest"] == tree_digest(params["weights"])


def test_a_predictor_travels_with_its_weights(tmp_path):
    predictor = {"hidden": {"kernel": np.ones((2, 3), np.float32)}}
    path = tmp_path / "params.safetensors"
    save_params(path, {**make_params(), "predictor": predictor}, settings={})
    params, metadata = load_params(path)
    np.testing.assert_array_equal(params["predictor"]["hidden"]["kernel"], np.ones((2, 3)))
    init = initialization.load(str(path))
    assert set(init.params) == {"weights", "style"}
    np.testing.assert_array_equal(init.predictor["hidden"]["kernel"], np.ones((2, 3)))
    # of the weights alone: a style fits with and without the predictor
    save_params(path, make_params(), settings={})
    assert load_params(path)[1]["weights_digest"] == metadata["weights_digest"]
    with pytest.raises(ValueError, match="weights, style and maybe a predictor"):
        save_params(path, {**make_params(), "rates": predictor}, settings={})


def test_values_too_large_for_float16(tmp_path):
    params = {**make_params(), "weights": {"a": jnp.float32([1e6])}}
    with pytest.raises(ValueError, match=r"weights/a .*float16"):
        save_params(tmp_path / "a", params, settings={}, dtype="float16")


def test_a_strided_array_is_saved_as_it_looks(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    params = {"weights": {"a": array}, "style": make_style()}
    save_params(tmp_path / "a", params, settings={})
    np.testing.assert_array_equal(load_params(tmp_path / "a")[0]["weights"]["a"], array)


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write") as error:
        save_style(tmp_path / "file" / "a", make_style(), weights_digest=DIGEST, settings={})
    one_line(error)


def test_names_that_are_not_utf_8_are_written_out(tmp_path):
    """As Python has them of the command line: --style=caf\\xe9.jpg."""
    path, name = tmp_path / "style.safetensors", "caf\udce9.jpg"
    settings = {"style_file": name}
    save_style(path, make_style(), weights_digest=DIGEST, settings=settings, command=name)
    _, metadata = load_style(path)
    assert metadata["command"] == "caf\\udce9.jpg" and metadata["settings"] == settings
    save_params(path, make_params(), settings=settings, command=name)
    assert load_params(path)[1]["command"] == "caf\\udce9.jpg"


def test_reports_on_such_names_are_written(tmp_path):
    atomic.write_text(tmp_path / "report.md", "caf\udce9 \u00e9\n")
    assert (tmp_path / "report.md").read_bytes() == b"caf\\udce9 \xc3\xa9\n"
    records.write_csv(tmp_path / "rows.csv", [{"style": "caf\udce9"}])
    assert (tmp_path / "rows.csv").read_bytes() == b"style\r\ncaf\\udce9\r\n"
