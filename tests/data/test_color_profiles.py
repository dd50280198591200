"""Embedded color profiles are used, against profiles whose effect is known by construction."""

from __future__ import annotations

import io

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms

from metastyle_jax.data import decoding, images
from metastyle_jax.data.folder import FolderSource

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# the primaries of red and green exchanged: numbers under it are those of sRGB in another order
SWAPPED = SRGB.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")


def noisy(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_colors_are_converted_from_the_embedded_profile(tmp_path, suffix):
    pixels, path = noisy(24, 20, 3), tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(path, icc_profile=SWAPPED, **options)
    read = images.read_image(path) * 255
    np.testing.assert_allclose(read, pixels[..., [1, 0, 2]], atol=2)
    assert images.inspect_image(path).notes == ()
    # in training too
    np.testing.assert_allclose(FolderSource(tmp_path, "folder")[0], read, atol=0.01)


def test_a_profile_that_changes_nothing_leaves_every_bit(tmp_path):
    pixels = noisy(24, 20, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=SRGB)
    np.testing.assert_array_equal(decoding.decode_native(tmp_path / "a.png", "a"), pixels)


def test_transparency_is_composited_after_the_conversion(tmp_path):
    pixels = noisy(24, 20, 4)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=SWAPPED)
    opacity = pixels[..., 3:] / 255
    expected = pixels[..., [1, 0, 2]] * opacity + 255 * (1 - opacity)
    np.testing.assert_allclose(images.read_image(tmp_path / "a.png") * 255, expected, atol=3)


def test_a_palette_goes_through_the_profile(tmp_path):
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([0, 0, 0, 250, 10, 90])
    picture.save(tmp_path / "a.png", icc_profile=SWAPPED)
    color = images.read_image(tmp_path / "a.png")[3, 4] * 255
    np.testing.assert_allclose(color, [10, 250, 90], atol=2)


@pytest.mark.parametrize(
    "profile",
    [b"no profile", SWAPPED[:200], SWAPPED[:16] + b"CMYK" + SWAPPED[20:], SWAPPED[:16] + b"\xff"],
)
def test_a_profile_that_cannot_be_used_is_ignored_with_a_note(tmp_path, profile):
    pixels = noisy(24, 20, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(decoding.decode_native(tmp_path / "a.png", "a"), pixels)
    (note,) = images.inspect_image(tmp_path / "a.png").notes
    assert "profile" in note and "ignored" in note


def test_a_gray_profile_does_not_spoil_a_gray_picture_with_transparency(tmp_path):
    gray = noisy(24, 20, 2)
    gray[..., 1] = 255
    Image.fromarray(gray, mode="LA").save(tmp_path / "a.png", icc_profile=SRGB)
    expected = np.repeat(gray[..., :1], 3, -1)
    np.testing.assert_allclose(images.read_image(tmp_path / "a.png") * 255, expected, atol=1.01)


def test_one_picture_under_three_profiles_reads_alike(shared):
    """Means over 16x16 pixels: two of the three files are JPEG, whose noise is stronger."""
    read = [
        images.read_image(shared / "cases" / name).reshape(12, 16, 16, 16, 3).mean((1, 3)) * 255
        for name in ("icc_srgb.png", "icc_p3.jpg", "icc_adobe.jpg")
    ]
    for other in read[1:]:
        assert np.abs(other - read[0]).max() < 2
        assert np.abs((other - read[0]).mean((0, 1))).max() < 0.2


@pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13,
    reason="Pillow before 13 takes uncompressed YCbCr for truncated",
)
def test_ycbcr_tiff_reads_as_rgb(tmp_path):
    rgb = np.kron(noisy(4, 5, 3), np.ones((8, 8, 1), np.uint8))
    y, cb, cr = np.moveaxis(rgb.astype(float) @ np.array(JFIF).T, -1, 0)
    coded = np.rint(np.stack([y, cb + 128, cr + 128], -1)).clip(0, 255).astype(np.uint8)
    Image.fromarray(coded, mode="YCbCr").save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as picture:
        assert picture.tag_v2[262] == 6  # its photometric interpretation; Pillow 12 opens it so
    np.testing.assert_allclose(images.read_image(tmp_path / "a.tif") * 255, rgb, atol=2.5)


# Y, Cb, Cr of red, green, blue (JFIF 1.02)
JFIF = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]


def test_decoding_from_memory_is_the_same(tmp_path):
    Image.fromarray(noisy(24, 20, 3)).save(tmp_path / "a.png", icc_profile=SWAPPED)
    data = (tmp_path / "a.png").read_bytes()
    decoded = decoding.decode_native(io.BytesIO(data), "a")
    np.testing.assert_array_equal(decoded, decoding.decode_native(tmp_path / "a.png", "a"))
