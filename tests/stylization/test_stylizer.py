"""A stylizer: kinds of pictures, input noise as data, and files that give it back."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.errors import UserError
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.input_noise import texture
from metastyle_jax.runtime import compilation
from metastyle_jax.storage import style_file
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization.loading import load
from metastyle_jax.stylization.stylizer import Record, Stylizer


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters())
    return Stylizer(**params, input_noise=0.1)


def pictures(count: int = 2, height: int = 17, width: int = 18) -> np.ndarray:
    return np.asarray(tiny.images(count, height, width), np.float32)


def test_a_picture_of_a_batch_is_drawn_as_if_it_were_alone(stylizer):
    batch = pictures()
    drawn = stylizer(batch)
    assert drawn.shape == batch.shape and drawn.dtype == np.float32
    for picture, expected in zip(batch, drawn, strict=True):
        np.testing.assert_array_equal(stylizer(picture[None])[0], expected)
        # alone it is drawn in tiles
        np.testing.assert_allclose(stylizer(picture), expected, atol=1e-5)


def test_draws_what_the_network_makes_of_the_noisy_picture(stylizer):
    batch = pictures(1)
    noisy = jnp.clip(batch + np.float32(0.1) * texture()[None, :17, :18, None], 0, 1)
    expected = stylization_network.stylize(stylizer.weights, stylizer.style, noisy)
    np.testing.assert_allclose(stylizer(batch), expected, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_numpy_in_numpy_out_of_the_same_dtype(stylizer, dtype):
    floats = pictures(1)[0]
    picture = np.rint(255 * floats).astype(dtype) if dtype == "uint8" else floats.astype(dtype)
    drawn = stylizer(picture)
    assert type(drawn) is np.ndarray and drawn.dtype == picture.dtype
    scale = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(drawn.astype(float) / scale, stylizer(floats), atol=0.05)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_jax_in_jax_out_of_the_same_dtype(stylizer, dtype):
    floats = pictures(1)[0]
    scale = 255 if dtype == "uint8" else 1
    picture = jnp.asarray(scale * floats).astype(dtype)
    drawn = stylizer(picture)
    assert isinstance(drawn, jax.Array) and drawn.dtype == picture.dtype
    np.testing.assert_allclose(np.asarray(drawn, np.float32) / scale, stylizer(floats), atol=0.1)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pillow_in_pillow_out(stylizer, mode):
    picture = Image.fromarray(np.rint(255 * pictures(1)[0]).astype(np.uint8)).convert(mode)
    drawn = stylizer(picture)
    assert isinstance(drawn, Image.Image)
    assert (drawn.mode, drawn.size) == ("RGBA" if mode == "RGBA" else "RGB", picture.size)
    colors = np.asarray(drawn.convert("RGB"))
    np.testing.assert_array_equal(colors, stylizer(np.array(picture.convert("RGB"))))


def test_transparency_is_kept_and_what_it_hides_is_white_and_exif_rotation_is_applied(
    stylizer, tmp_path
):
    clear = Image.new("RGBA", (18, 17), (0, 0, 0, 0))
    white = Image.new("RGB", (18, 17), "white")
    drawn = np.asarray(stylizer(clear))
    np.testing.assert_array_equal(drawn[..., :3], np.asarray(stylizer(white)))
    assert (drawn[..., 3] == 0).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    white.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as turned:
        assert stylizer(turned).size == (17, 18)


@pytest.mark.parametrize(
    "picture, kind, message",
    [
        ("photo.jpg", TypeError, "give an array or a Pillow image, not str"),
        (np.zeros((17, 18)), ValueError, r"not \(17, 18\)"),
        (np.zeros((17, 18, 4)), ValueError, r"not \(17, 18, 4\)"),
        (np.zeros((0, 17, 18, 3)), ValueError, r"not \(0, 17, 18, 3\)"),
        (np.zeros((17, 18, 3), np.int64), TypeError, "not int64"),
        (np.full((17, 18, 3), 255.0), ValueError, "got 255 to 255: divide by 255"),
        (np.full((17, 18, 3), np.nan), ValueError, "got nan"),
        (np.zeros((15, 18, 3)), ValueError, "18x15 pixels; the network needs 16"),
        (np.zeros((1, 15, 18, 3)), ValueError, "18x15 pixels; the network needs 16"),
    ],
)
def test_what_is_no_picture_is_refused(stylizer, picture, kind, message):
    with pytest.raises(kind, match=message):
        stylizer(picture)


def test_input_noise_is_data_of_one_program(stylizer, monkeypatch):
    """The network is traced once for all deviations, 0 among them."""
    traces, stylize = [], stylization_network.stylize

    def counted(*arguments):
        traces.append(arguments)
        return stylize(*arguments)

    monkeypatch.setattr(stylization_network, "stylize", counted)
    picture = pictures(1, 19, 21)  # a size that no other test has
    drawn = [
        dataclasses.replace(stylizer, input_noise=deviation)(picture)
        for deviation in (0.05, 0.2, 0.0)
    ]
    assert len(traces) == 1
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    plain = compilation.jit(stylize)(stylizer.weights, stylizer.style, picture)
    np.testing.assert_array_equal(drawn[2], plain)


def named(stylizer: Stylizer, path) -> Stylizer:
    """The same with weights that a file has."""
    style_file.save_params(path, stylizer.params, settings={})
    digest = tree_digest(stylizer.weights)
    record = Record(settings={"of": "it"}, weights_name=str(path), weights_digest=digest)
    return dataclasses.replace(stylizer, record=record)


def assert_same(one: Stylizer, other: Stylizer) -> None:
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert one.input_noise == other.input_noise


def test_a_style_of_weights_that_have_a_name_is_saved_alone(stylizer, tmp_path):
    mine = named(stylizer, tmp_path / "init.safetensors")
    other_style = jax.tree.map(lambda leaf: leaf + 1, mine.style)
    mine = dataclasses.replace(mine, style=other_style)
    path = tmp_path / "mine.safetensors"
    mine.save(path)
    assert style_file.format_of(path) == style_file.STYLE_FORMAT
    again = load(path)
    assert_same(mine, again)
    assert again.record.settings["of"] == "it" and again.record.name == str(path)
    again.save(tmp_path / "again.safetensors")
    assert_same(mine, load(tmp_path / "again.safetensors"))


def test_other_weights_are_saved_in_full(stylizer, tmp_path):
    path = tmp_path / "mine.safetensors"
    changed = jax.tree.map(lambda leaf: leaf * 2, stylizer.weights)
    without_name = dataclasses.replace(stylizer, weights=changed)
    stale_name = dataclasses.replace(
        named(stylizer, tmp_path / "init.safetensors"), weights=changed
    )
    for each in (without_name, stale_name, load_saved(without_name, path)):
        each.save(path)
        assert style_file.format_of(path) == style_file.PARAMS_FORMAT
        assert_same(each, load(path))


def load_saved(stylizer: Stylizer, path) -> Stylizer:
    stylizer.save(path)
    return load(path)


def test_a_style_is_not_written_over_its_weights(stylizer, tmp_path):
    path = tmp_path / "init.safetensors"
    mine = named(stylizer, path)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"written over the input .* choose another file name"):
        mine.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "spec, message",
    [
        ("pack:nobody", "there is no style pack 'nobody'"),
        ("gone.safetensors", "gone.safetensors: there is no such file"),
        ("runs/gone", "runs/gone"),
    ],
)
def test_names_of_nothing(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load(spec)


def test_the_embedded_network_and_a_pack():
    embedded, pack = load("embedded"), load("pack:starry_night")
    assert pack.record.name == "pack:starry_night"
    jax.tree.map(np.testing.assert_array_equal, embedded.weights, pack.weights)
    assert embedded.weights_are_named and pack.weights_are_named
    assert np.abs(embedded.style["conv1_norm"]["scale"] - pack.style["conv1_norm"]["scale"]).max()


def test_a_picture_of_any_size_compiles_nothing(stylizer, programs):
    one, other = pictures(1)[0], pictures(1, 33, 20)[0]
    stylizer(one)
    before = programs()
    dataclasses.replace(stylizer, input_noise=0.3)(other)
    assert programs() == before
