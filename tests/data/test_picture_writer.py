"""Pictures written in each format, read with Pillow alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.data import decoding, picture_writer
from metastyle_jax.errors import UserError

SMOOTH = np.linspace(0, 1, 24 * 20 * 3, dtype=np.float32).reshape(24, 20, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.webp", "a.tif", "a.tiff"])
def test_every_format_keeps_the_picture_and_the_record(tmp_path, name):
    path = tmp_path / name
    picture_writer.write_picture(path, SMOOTH, record="what it is of")
    with Image.open(path) as image:
        assert image.format == picture_writer.FORMATS[picture_writer.ending_of(path)]
        assert np.abs(np.asarray(image) / 255 - SMOOTH).max() < 0.02
    assert picture_writer.read_record(path) == "what it is of"


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_opacity_is_kept(tmp_path, ending):
    opacity = np.arange(480, dtype=np.uint8).reshape(24, 20)
    path = tmp_path / f"a.{ending}"
    picture_writer.write_picture(path, SMOOTH, opacity=opacity)
    layers = decoding.decode_layers(path, "a")
    np.testing.assert_array_equal(layers.opacity, opacity)


def test_jpeg_is_put_on_white(tmp_path):
    opacity = np.zeros((24, 20), np.uint8)
    picture_writer.write_picture(tmp_path / "a.jpg", SMOOTH, opacity=opacity)
    assert np.asarray(Image.open(tmp_path / "a.jpg")).min() >= 254


def test_quality_changes_the_size(tmp_path):
    noisy = np.random.default_rng(0).random((64, 64, 3), np.float32)
    for quality in (20, 95):
        picture_writer.write_picture(tmp_path / f"{quality}.jpg", noisy, quality=quality)
    assert (tmp_path / "20.jpg").stat().st_size * 3 < (tmp_path / "95.jpg").stat().st_size


@pytest.mark.parametrize("ending", list(picture_writer.FORMATS))
def test_the_record_of_a_picture_that_pillow_takes_for_a_bomb(tmp_path, ending, monkeypatch):
    """From 179 megapixels on `Image.open` raises, and from half of that it warns."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / f"a.{ending}"
    picture_writer.write_picture(path, SMOOTH, record="what it is of")
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert picture_writer.read_record(path) == "what it is of"


@pytest.mark.filterwarnings("error")
def test_a_damaged_header_has_no_record_and_no_warning(tmp_path):
    exif = b"Exif\0\0II*\0\xff\xff\0\0"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert picture_writer.read_record(tmp_path / "a.jpg") is None


def test_no_record(tmp_path):
    picture_writer.write_picture(tmp_path / "a.jpg", SMOOTH)
    assert picture_writer.read_record(tmp_path / "a.jpg") is None
    assert picture_writer.read_record(tmp_path / "gone.jpg") is None
    (tmp_path / "text.png").write_text("no picture")
    assert picture_writer.read_record(tmp_path / "text.png") is None
    (tmp_path / "a.jpg").rename(tmp_path / "a.webp")
    assert picture_writer.read_record(tmp_path / "a.webp") is None


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.gif: give a name that ends in \.png, \.jpg"):
        picture_writer.write_picture(tmp_path / "a.gif", SMOOTH)


def test_what_transparency_hides_is_white_and_the_rest_keeps_its_color(tmp_path):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :, 0] = 200
    pixels[:8, :, 3] = 100
    Image.fromarray(pixels).save(tmp_path / "a.png")
    layers = decoding.decode_layers(tmp_path / "a.png", "a")
    assert (layers.colors[:8] == [200, 0, 0]).all() and (layers.colors[8:] == 255).all()
    assert layers.format == "PNG"


@pytest.mark.parametrize(
    ("name", "side", "longest"), [("a.webp", 16_384, "16383"), ("a.jpg", 65_501, "65500")]
)
def test_a_side_that_the_format_cannot_hold_is_one_sentence(tmp_path, name, side, longest):
    image = np.zeros((1, side, 3), np.uint8)
    with pytest.raises(UserError, match=rf"{name}: .*{side}x1 pixels, .* at most {longest} on"):
        picture_writer.write_picture(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []
    picture_writer.write_picture(tmp_path / name, image[:, 1:])
    assert Image.open(tmp_path / name).size == (side - 1, 1)
