"""Pictures of strangers: a small file costs little, whatever it says."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageOps, features

from metastyle_jax.data import decoding, sent_pictures
from metastyle_jax.errors import UserError

NAME = "the picture"
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
KINDS = [kind for kind in sent_pictures.formats() if kind != "AVIF" or features.check("avif")]


def saved(kind: str, image: Image.Image = PICTURE, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(values: int, each: int, size: int, orientation: int | None = None) -> bytes:
    """A directory of so many values of `each` bytes, all at the same place."""
    entries = [struct.pack("<HHLL", 50_000 + tag, 7, each, 0) for tag in range(values)]
    if orientation is not None:
        entries.insert(0, struct.pack("<HHLHH", 0x112, 3, 1, orientation, 0))
    head = b"II*\0" + struct.pack("<LH", 8, len(entries))
    return (head + b"".join(entries) + b"\0" * 4).ljust(size, b"\0")


def segments(data: bytes, marker: bytes = b"\xff\xe1", start: bytes = b"Exif\0\0") -> bytes:
    """Data as segments of a JPEG file."""
    parts = [start + data[each : each + 60_000] for each in range(0, len(data), 60_000)]
    return b"".join(marker + struct.pack(">H", len(part) + 2) + part for part in parts)


def jpeg_with(data: bytes) -> bytes:
    """A JPEG file that begins with these segments, and does not say its resolution."""
    plain = saved("JPEG")
    return plain[:2] + data + plain[plain.index(b"\xff\xdb") :]


def gif_with_comment(blocks: int) -> bytes:
    data = saved("GIF")
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    return data[:start] + b"!\xfe" + b"\x01a" * blocks + b"\0" + data[start:]


def scans(count: int) -> bytes:
    data = saved("JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xc4") : -2]
    return data[:-2] + last * count + b"\xff\xd9"


def tiff_with_strips(count: int) -> bytes:
    tags = [(256, 1, 30), (257, 1, 20), (258, 1, 8), (259, 1, 1), (262, 1, 1)]
    tags += [(273, count, 200), (277, 1, 1), (278, 1, 1), (279, count, 200)]
    entries = b"".join(struct.pack("<HHLL", tag, 4, *rest) for tag, *rest in tags)
    return (b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries).ljust(200, b"\0") + bytes(
        4 * count
    )


@pytest.mark.parametrize("kind", KINDS)
def test_formats_that_are_taken_are_read_as_elsewhere(kind):
    data = saved(kind)
    assert sent_pictures.sides(data, NAME) == (30, 20)
    expected = decoding.decode_layers(io.BytesIO(data), NAME)
    layers = sent_pictures.decode(data, NAME)
    np.testing.assert_array_equal(layers.colors, expected.colors)
    assert layers.format == kind


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "TGA"])
def test_other_formats_are_refused_by_one_sentence(kind):
    data = saved(kind, Image.new("RGB", (64, 64)))
    decoding.header_of(io.BytesIO(data), NAME)  # which others read
    for read in (sent_pictures.sides, sent_pictures.decode):
        with pytest.raises(UserError, match=r"the picture: .* give a JPEG, PNG or WebP file"):
            read(data, NAME)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gif_with_comment(6000), "its header is too long"),
        (tiff_with_strips(300_000), "its header is too long"),
        (jpeg_with(segments(exif(50, 3000, 59_000))), "its EXIF data cannot be read"),
        (jpeg_with(segments(exif(0, 0, 120_000))), "its EXIF data cannot be read"),
        (jpeg_with(segments(exif(50, 3000, 9000), b"\xff\xe2", b"MPF\0")), "its EXIF data"),
        (scans(100), "more than 100 scans"),
    ],
    ids=["comment", "strips", "exif", "exif-segments", "pictures", "scans"],
)
def test_costly_files_are_refused_by_one_sentence(data, words):
    with pytest.raises(sent_pictures.Costly, match=f"^the picture: .*{words}.*save it anew"):
        sent_pictures.sides(data, NAME)


@pytest.mark.parametrize(
    "data",
    [
        gif_with_comment(1000),
        tiff_with_strips(20),
        jpeg_with(segments(exif(2, 3000, 9000))),
        scans(20),
    ],
    ids=["comment", "strips", "exif", "scans"],
)
def test_sound_files_with_much_of_that_are_read(data):
    assert sent_pictures.sides(data, NAME) == (30, 20)
    assert sent_pictures.decode(data, NAME).colors.shape == (20, 30, 3)


def test_frames_are_not_counted(monkeypatch):
    data = saved("GIF", save_all=True, append_images=[PICTURE.rotate(180)])
    counted = []
    monkeypatch.setattr(GifImagePlugin.GifImageFile, "n_frames", property(counted.append))
    assert sent_pictures.sides(data, NAME) == (30, 20)
    assert not counted


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_directory_whose_values_overlap_turns_nothing(kind, monkeypatch):
    sound, forged = (exif(values, 3000, 9000, orientation=6) for values in (2, 50))
    assert sent_pictures.decode(saved(kind, exif=sound), NAME).colors.shape == (30, 20, 3)
    read = []
    monkeypatch.setattr(ImageOps, "exif_transpose", read.append)
    assert sent_pictures.decode(saved(kind, exif=forged), NAME).colors.shape == (20, 30, 3)
    assert not read


def test_what_a_sound_directory_is():
    assert decoding.is_sound_directory(b"") and decoding.is_sound_directory(b"II*\0")
    assert decoding.is_sound_directory(exif(3, 3000, 9000))
    assert not decoding.is_sound_directory(exif(4, 3000, 9000))
    assert decoding.is_sound_directory(exif(4, 9001, 9000))  # beyond the end: nothing is copied
    assert decoding.is_sound_directory(exif(700, 4, 9000))  # in the entries
    big = b"MM\0*" + struct.pack(">LH", 8, 3) + struct.pack(">HHLL", 50_000, 12, 25, 0) * 3
    assert not decoding.is_sound_directory(big.ljust(500, b"\0"))
    assert decoding.is_sound_directory(big.ljust(600, b"\0"))


@pytest.mark.skipif("AVIF" not in KINDS, reason="this Pillow has no AVIF")
def test_long_avif_files_have_no_exif_data():
    assert sent_pictures.sides(saved("AVIF", exif=exif(0, 0, 1000)), NAME) == (30, 20)
    with pytest.raises(sent_pictures.Costly, match="EXIF"):
        sent_pictures.sides(saved("AVIF", exif=exif(0, 0, 70_000)), NAME)


def test_pillow_can_be_restricted(monkeypatch):
    icon = saved("ICO", PICTURE.resize((64, 64)))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    sent_pictures.restrict_pillow()
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(icon))
    assert Image.open(io.BytesIO(saved("PNG"))).size == (30, 20)
