"""Reading, resizing, listing and writing images, against pictures whose pixels are known."""

from __future__ import annotations

import contextlib
import errno
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from metastyle_jax.data import decoding, images, resizing
from metastyle_jax.errors import UserError


def noisy(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_bytes(width: int, height: int, bits: int, color_type: int, rows: bytes) -> bytes:
    """A PNG file written by hand, so that header and depth are under the test's control."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def assert_one_sentence(error: pytest.ExceptionInfo[UserError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_plain_png_is_read_exactly(tmp_path):
    pixels = noisy(7, 5)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = images.read_image(tmp_path / "a.png")
    assert image.dtype == np.float32 and image.shape == (7, 5, 3)
    np.testing.assert_allclose(image, pixels / 255.0, atol=1e-7)


# How the stored pixels of each orientation have to be turned to be upright (EXIF 2.3, tag 0x0112).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path, orientation):
    pixels = np.kron(noisy(2, 3), np.ones((8, 8, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif)
    expected = UPRIGHT[orientation](pixels / 255.0)
    image = images.read_image(tmp_path / "a.jpg")
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, atol=0.02)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_lose_the_picture(tmp_path):
    pixels = np.full((8, 8, 3), 200, np.uint8)
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=broken)
    np.testing.assert_allclose(images.read_image(tmp_path / "a.jpg"), 200 / 255, atol=0.01)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_on_white(tmp_path, mode):
    alpha = np.array([[0, 51, 128, 255]], np.uint8)
    color = np.array([[10, 100, 200, 30]], np.uint8)
    layers = [color] * (3 if mode == "RGBA" else 1) + [alpha]
    Image.fromarray(np.stack(layers, -1), mode=mode).save(tmp_path / "a.png")
    opacity = alpha / 255.0
    expected = color / 255.0 * opacity + (1.0 - opacity)
    image = images.read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image, np.stack([expected] * 3, -1), atol=1.01 / 255)


def test_palette_with_and_without_transparency(tmp_path):
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    picture.save(tmp_path / "opaque.png")
    picture.save(tmp_path / "clear.png", transparency=1)
    picture.save(tmp_path / "clear.gif", transparency=1)
    opaque = np.eye(3, dtype=np.float32)[None]
    clear = opaque.copy()
    clear[0, 1] = 1.0
    np.testing.assert_array_equal(images.read_image(tmp_path / "opaque.png"), opaque)
    np.testing.assert_array_equal(images.read_image(tmp_path / "clear.png"), clear)
    np.testing.assert_array_equal(images.read_image(tmp_path / "clear.gif"), clear)


def test_color_key_transparency_of_rgb(tmp_path):
    picture = Image.fromarray(np.array([[[1, 2, 3], [50, 60, 70]]], np.uint8))
    picture.save(tmp_path / "a.png", transparency=(1, 2, 3))
    expected = np.array([[[1, 1, 1], [50 / 255, 60 / 255, 70 / 255]]])
    np.testing.assert_allclose(images.read_image(tmp_path / "a.png"), expected, atol=1e-6)


def test_cmyk(tmp_path):
    # Cyan, magenta, yellow and black ink, and bare paper.
    inks = np.zeros((16, 80, 4), np.uint8)
    for index in range(4):
        inks[:, 16 * index : 16 * index + 16, index] = 255
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.jpg", quality=100)
    expected = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
    for name in ("a.tif", "a.jpg"):
        image = images.read_image(tmp_path / name)
        np.testing.assert_allclose(image[8, 8::16], expected, atol=0.03)


def test_gray_and_one_bit(tmp_path):
    gray = np.array([[0, 77, 255]], np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray).convert("1", dither=Image.Dither.NONE).save(tmp_path / "bit.png")
    three = np.repeat(gray[..., None], 3, -1) / 255.0
    np.testing.assert_allclose(images.read_image(tmp_path / "gray.png"), three, atol=1e-7)
    np.testing.assert_array_equal(images.read_image(tmp_path / "bit.png")[0, :, 1], [0, 0, 1])


def test_sixteen_bit_gray_keeps_its_depth(tmp_path):
    values = np.linspace(0, 65535, 300).astype(np.uint16)
    rows = b"\0" + values.astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png_bytes(300, 1, 16, 0, rows))
    Image.fromarray(values[None]).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        image = images.read_image(tmp_path / name)
        np.testing.assert_allclose(image[0, :, 2], values / 65535.0, atol=1e-6)


def test_sixteen_bit_rgb(tmp_path):
    values = np.linspace(0, 65535, 300).astype(np.uint16)
    rows = b"\0" + np.repeat(values[:, None], 3, 1).astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png_bytes(300, 1, 16, 2, rows))
    image = images.read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image[0, :, 0], values / 65535.0, atol=1 / 255)


def test_integer_and_float_tiff(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.int32)).save(tmp_path / "i.tif")
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "deep.tif")
    for name in ("i.tif", "f.tif"):
        image = images.read_image(tmp_path / name)
        np.testing.assert_allclose(image[0, :, 0], [0, 0.5, 1], atol=1e-4)
    with pytest.raises(UserError) as error:
        images.read_image(tmp_path / "deep.tif")
    assert_one_sentence(error, "deep.tif", "out of range")


def damaged_files(folder: Path) -> dict[str, str]:
    """Writes one file of each kind of damage; returns what the message must say about it."""
    Image.fromarray(noisy(64, 64)).save(folder / "whole.jpg")
    Image.fromarray(noisy(64, 64)).save(folder / "whole.png")
    for name in ("jpg", "png"):
        data = (folder / f"whole.{name}").read_bytes()
        (folder / f"cut.{name}").write_bytes(data[: len(data) // 2])
        (folder / f"stub.{name}").write_bytes(data[:20])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("not a picture")
    (folder / "folder.png").mkdir()
    return {
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "stub.jpg": "",
        "stub.png": "",
        "empty.png": "empty",
        "text.jpg": "not an image",
        "folder.png": "folder",
        "missing.png": "no such file",
    }


def test_a_file_without_permission_is_reported(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    # Not by taking the permission away: the tests may run as root, who may read everything.
    Image.fromarray(noisy(4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UserError) as error:
        images.read_image(tmp_path / "a.png")
    assert_one_sentence(error, str(tmp_path / "a.png"), "Permission denied", "permissions")


def test_damaged_files_are_reported_in_one_sentence(tmp_path):
    for name, words in damaged_files(tmp_path).items():
        with pytest.raises(UserError) as error:
            images.read_image(tmp_path / name)
        assert_one_sentence(error, str(tmp_path / name), words, ";")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_pixel_data_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(1)
    animated = {"gif", "tiff", "webp", "png", "avif"}
    frame = Image.fromarray(noisy(24, 24))
    for kind in ("png", "jpeg", "gif", "tiff", "webp", "bmp", "avif"):
        if kind == "avif" and not features.check("avif"):
            continue
        file = io.BytesIO()
        frames = {"save_all": True, "append_images": [frame.rotate(90), frame.rotate(180)]}
        frame.save(file, kind, **(frames if kind in animated else {}))
        for _ in range(25):
            data = bytearray(file.getvalue())
            for position in rng.integers(0, len(data), 6):
                data[position] = rng.integers(256)
            try:
                image = images.decode_image(bytes(data), "scrambled")
            except UserError as error:
                assert str(error).startswith("scrambled")
            else:
                assert image.dtype == np.float32 and image.shape[2] == 3
            (tmp_path / "scrambled").write_bytes(data)
            with contextlib.suppress(UserError):
                images.inspect_image(tmp_path / "scrambled")


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_bytes(side, side, 8, 2, b""))
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as error:
            images.read_image(tmp_path / "bomb.png")
    assert_one_sentence(error, "bomb.png", "89 million pixels")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_our_limit_is_not_above_pillows_warning():
    assert decoding.MAX_PIXELS <= Image.MAX_IMAGE_PIXELS


def test_draft_decoding_stays_above_the_requested_side(tmp_path):
    smooth = np.linspace(0, 255, 640).astype(np.uint8)
    pixels = np.broadcast_to(smooth[None, :, None], (480, 640, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "a.jpg", exif=exif)
    image = decoding.decode_native(tmp_path / "a.jpg", "a", short_side=100)
    assert image.shape == (160, 120, 3)
    expected = images.read_image(tmp_path / "a.jpg").reshape(160, 4, 120, 4, 3).mean((1, 3))
    np.testing.assert_allclose(image / 255.0, expected, atol=0.02)


def test_write_png_round_trip(tmp_path):
    path = tmp_path / "out.png"
    images.write_png(path, np.array([[[-1.0, 0.5, 2.0], [np.nan, 100.4 / 255, 1.0]]], np.float32))
    expected = [[[0, 128, 255], [0, 100, 255]]]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    pixels = noisy(6, 9)
    images.write_png(path, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_write_png_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    images.write_png(path, noisy(4, 4))
    before = path.read_bytes()

    def full(self, file, **kwargs):
        file.write(b"half a pict")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError) as error:
        images.write_png(path, noisy(4, 4))
    assert_one_sentence(error, str(path), "no space left on device")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_write_png_leaves_nothing_behind_when_interrupted(tmp_path, monkeypatch):
    def interrupted(self, file, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        images.write_png(tmp_path / "out.png", noisy(4, 4))
    assert not list(tmp_path.iterdir())


def test_write_png_names_what_is_wrong_with_the_path(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "taken.png").mkdir()
    for name in ("file/a.png", "taken.png", "a.jpg"):
        with pytest.raises(UserError) as error:
            images.write_png(tmp_path / name, noisy(4, 4))
        assert_one_sentence(error, str(tmp_path / name))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]


def test_list_images_is_sorted_recursive_and_skips_hidden(tmp_path):
    for name in ("b/2.PNG", "a.Jpg", "b/1.webp", ".hidden/x.png", "b/.x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = images.list_images(tmp_path, "content folder")
    assert found == [tmp_path / "a.Jpg", tmp_path / "b" / "1.webp", tmp_path / "b" / "2.PNG"]


def test_list_images_errors(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "none").mkdir()
    for name, words in {"file": "not a folder", "none": "no images", "gone": "not exist"}.items():
        with pytest.raises(UserError) as error:
            images.list_images(tmp_path / name, "style folder")
        assert_one_sentence(error, "style folder", str(tmp_path / name), words)


def test_check_minimum_size():
    images.check_minimum_size(noisy(16, 16), "a.png")
    with pytest.raises(UserError) as error:
        images.check_minimum_size(noisy(400, 15), "a.png")
    assert_one_sentence(error, "a.png", "15x400", "16")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resampling_averages_when_shrinking_and_keeps_constants(dtype):
    board = np.indices((64, 96)).sum(0) % 2
    image = np.repeat(board[..., None], 3, -1).astype(dtype)
    image = image * 255 if dtype == np.uint8 else image
    small = resizing.resize_short_side(image, 16)
    assert small.shape == (16, 24, 3) and small.dtype == dtype
    np.testing.assert_allclose(images.as_float(small)[2:-2, 2:-2], 0.5, atol=0.02)
    one = np.full((1, 1, 3), 200 if dtype == np.uint8 else 0.75, dtype)
    large = resizing.center_crop_resized(one, 32)
    assert large.shape == (32, 32, 3)
    np.testing.assert_allclose(large, np.broadcast_to(one, large.shape), rtol=1e-5)


def test_center_crop_takes_the_center():
    image = np.zeros((20, 60, 3), np.float32)
    image[:, 20:40] = 1.0
    np.testing.assert_array_equal(resizing.center_crop_resized(image, 20), 1.0)


def test_resize_refuses_absurd_proportions():
    with pytest.raises(UserError, match="too large"):
        resizing.resize_short_side(np.zeros((1, 10_000, 3), np.uint8), 256)


def test_random_resized_crop_lies_inside_and_respects_the_scale():
    y, x = np.meshgrid(np.linspace(0, 1, 90), np.linspace(0, 1, 120), indexing="ij")
    image = np.stack([y, x, 0 * x], -1).astype(np.float32)
    rng = np.random.default_rng(0)
    for smallest in (1.0, 1.3):
        for _ in range(50):
            crop = resizing.random_resized_crop(image, 32, rng, min_scale=smallest, max_scale=1.5)
            assert crop.shape == (32, 32, 3)
            # On a linear picture the extent of the crop can be read off its values.
            extent = (crop[-1, 0, 0] - crop[0, 0, 0]) * 89 / 90 * 32 / 31
            assert 1 / 1.5 - 0.05 < extent < 1 / smallest + 0.03
    whole = resizing.random_resized_crop(image[:, :90], 90, rng, max_scale=1.0)
    np.testing.assert_allclose(whole, image[:, :90], atol=1e-4)
