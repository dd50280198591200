"""Decoding of image files into RGB arrays, with one clear error for a bad file."""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from metastyle_jax.data import color_profiles
from metastyle_jax.errors import UserError

# 89 megapixels, Pillow's own threshold for a warning: an image that is accepted here never warns.
MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3

# What Pillow's decoders raise for damaged files; `SyntaxError` is its word for a broken PNG.
_DECODE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, LookupError),
    *(RuntimeError, TypeError, ArithmeticError, zlib.error),
)


# Pillow lists these formats, but they are drawings, films and tables of numbers that it cannot
# decode by itself.
_NO_PICTURES = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"])
_COMMON = ("JPEG", "PNG", "WEBP", "TIFF")  # tried first
# in these, frames are different pictures; in others they are previews, layers or sizes of one
_FRAMED = frozenset(["GIF", "PNG", "WEBP", "TIFF", "AVIF", "FLI", "DCX"])
# bytes of a value in an EXIF directory, by its type (TIFF 6.0, section 2)
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_VALUE_BYTES[16] = 8


class TooManyPixels(UserError):
    """An image of more than `MAX_PIXELS` pixels."""


class Header(NamedTuple):
    """Contents of the header of an image file.

    Attributes:
      width, height: in pixels, before any rotation.
      notes: for the user, on how the file will be read, such as "it has 4 frames, of which the
        first is used".
    """

    width: int
    height: int
    notes: tuple[str, ...]


@functools.cache
def formats() -> tuple[str, ...]:
    """Formats that can be decoded, by Pillow's names, most common ones first."""
    Image.init()
    return tuple(dict.fromkeys(_COMMON + tuple(n for n in Image.ID if n not in _NO_PICTURES)))


@functools.cache
def extensions() -> frozenset[str]:
    """File name extensions of these formats, in lower case without the dot."""
    known = Image.registered_extensions()  # of formats that Pillow only writes, too
    readable = {*formats(), "MPO"}  # the JPEG of some cameras, which Pillow's JPEG reader opens
    return frozenset(ending[1:] for ending, name in known.items() if name in readable)


def decode_native(
    file: IO[bytes] | str | os.PathLike[str], name: str, *, short_side: int | None = None
) -> np.ndarray:
    """Decodes an image to sRGB (H, W, 3): uint8, or float32 in [0, 1] for deeper files.

    With `short_side`, a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as neither
    side falls below `short_side` pixels; this is several times faster.

    Raises:
      UserError: one sentence that begins with `name`: no image, damaged, of an unsupported color
        mode, or of more than `MAX_PIXELS` pixels.
    """
    with _open(file, name) as image:
        if short_side is not None:
            image.draft(None, (short_side, short_side))
        _load(image, name)
        return _to_rgb(_rotated(image), name)


class Layers(NamedTuple):
    """A decoded picture with its transparency apart.

    Attributes:
      colors: sRGB (H, W, 3), uint8, or float32 in [0, 1] for deeper files; white where nothing of
        the picture shows.
      opacity: (H, W) uint8; None if the picture has no transparency.
      format: of the file, by Pillow's name, such as "JPEG".
    """

    colors: np.ndarray
    opacity: np.ndarray | None
    format: str


def decode_layers(
    file: IO[bytes] | str | os.PathLike[str], name: str, kinds: Sequence[str] | None = None
) -> Layers:
    """Decodes an image as `decode_native` does, but keeps its transparency.

    Args:
      file: path or open file.
      name: of the image, for messages.
      kinds: the formats that it may have, by Pillow's names; None for all.

    Raises:
      UserError: see `decode_native`.
    """
    with _open(file, name, kinds) as image:
        return image_layers(image, name)


def image_layers(image: Image.Image, name: str) -> Layers:
    """The layers of an open Pillow image, see `decode_layers`."""
    kind = image.format or ""  # which a rotated copy has lost
    _load(image, name)
    rotated = _rotated(image)
    if not rotated.has_transparency_data or rotated.mode.startswith(("I", "F")):
        return Layers(_to_rgb(rotated, name), None, kind)
    colors, opacity = (np.array(layer) for layer in _split(rotated, name))
    colors[opacity == 0] = 255  # what is hidden may be anything
    return Layers(colors, opacity, kind)


def picture_to_array(image: Image.Image, name: str) -> np.ndarray:
    """Converts an open Pillow image to sRGB (H, W, 3), with the result of `decode_native`.

    Raises:
      UserError: one sentence that begins with `name`: damaged, or of an unsupported color mode.
    """
    _load(image, name)
    return _to_rgb(_rotated(image), name)


def _load(image: Image.Image, name: str) -> None:
    try:
        image.load()
    except MemoryError:
        raise UserError(f"{name}: not enough memory to decode this image") from None
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{name}: the image is truncated or damaged ({error}); replace the file"
        ) from None


def check_header(path: str | os.PathLike[str]) -> Header:
    """Reads the header of an image file; raises `UserError` for a bad or too large one.

    Nothing is decoded: a truncated file passes. Emits Pillow's large-image warning unless called
    within `quiet_about_large_images`.
    """
    if Path(path).stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; replace it")
    return header_of(path, str(path))


def header_of(file: IO[bytes] | str | os.PathLike[str], name: str) -> Header:
    """`check_header` of an open file too; `name` is its name in messages."""
    with _open(file, name) as image:
        notes = (_frames_note(image), color_profiles.profile_problem(image))
        return Header(image.width, image.height, tuple(note for note in notes if note))


def size_of(
    file: IO[bytes] | str | os.PathLike[str], name: str, kinds: Sequence[str]
) -> tuple[int, int]:
    """(width, height) by the header alone, of an image of one of these formats.

    Frames are not counted, and no color profile is tried: both take long for some files.
    """
    with _open(file, name, kinds) as image:
        return image.width, image.height


def _frames_note(image: Image.Image) -> str | None:
    if image.format not in _FRAMED:
        return None
    try:
        frames = getattr(image, "n_frames", 1)
    except _DECODE_ERRORS:
        return None  # decoding says what is wrong, if the first frame is not whole
    return f"it has {frames} frames, of which the first is used" if frames > 1 else None


@contextlib.contextmanager
def quiet_about_large_images() -> Iterator[None]:
    """Silences Pillow's large-image warning: this module raises an error of its own instead.

    Not for threads, because warning filters belong to the process. Threaded readers do not need it:
    images that passed `check_header` do not warn.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _open(
    file: IO[bytes] | str | os.PathLike[str], name: str, kinds: Sequence[str] | None = None
) -> Image.Image:
    """Opens an image, reading its header only, and refuses what is no image or is too large."""
    too_large = (
        f"{name}: the image has more than {MAX_PIXELS // 10**6} million pixels; "
        "give a smaller version"
    )
    try:
        image = Image.open(file, formats=tuple(kinds or formats()))
    except Image.DecompressionBombError:
        raise TooManyPixels(too_large) from None
    except UnidentifiedImageError:
        raise UserError(
            f"{name}: this is not an image of a known format; give a JPEG, PNG or WebP file"
        ) from None
    except _DECODE_ERRORS as error:
        raise UserError(f"{name}: the image cannot be opened ({error}); replace the file") from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise TooManyPixels(too_large)
    return image


def _rotated(image: Image.Image) -> Image.Image:
    try:
        if not is_sound_directory(_exif_data(image)):
            return image
        return ImageOps.exif_transpose(image)
    except _DECODE_ERRORS:
        # The pixels are sound; only the metadata is damaged.
        return image


def _exif_data(image: Image.Image) -> bytes:
    """What Pillow reads the EXIF directory from; empty where that is the file itself."""
    text = image.info.get("Raw profile type exif", "")
    data = image.info.get("exif") or bytes.fromhex("".join(text.split("\n")[3:]))
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    return data


def is_sound_directory(data: bytes) -> bool:
    """Whether Pillow can read an EXIF directory without using more memory than its data have.

    It copies the value of each entry. Values of a forged directory lie over each other, and add up
    to any number of gigabytes.

    Args:
      data: from the header of TIFF on.
    """
    order = ">" if data[:2] == b"MM" else "<"
    if len(data) < 10:
        return True
    (start,) = struct.unpack_from(f"{order}L", data, 4)
    count = int.from_bytes(data[start : start + 2], "big" if order == ">" else "little")
    entries = data[start + 2 : start + 2 + 12 * count]
    total = 0
    for _, kind, values, where in struct.iter_unpack(
        f"{order}HHLL", entries[: len(entries) // 12 * 12]
    ):
        size = values * _VALUE_BYTES.get(kind, 0)
        if size > 4 and where + size <= len(data):  # others are in the entry, or missing
            total += size
    return total <= len(data)


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Converts a decoded picture of any mode to (H, W, 3), uint8 or (deep files) float32."""
    if image.mode == "F" or image.mode.startswith("I"):
        return np.repeat(_deep_gray(image, name)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer, opacity = _split(image, name)
        layer.putalpha(opacity)
        white = Image.new("RGBA", layer.size, "white")
        return np.array(Image.alpha_composite(white, layer).convert("RGB"))
    with _supported(image, name):
        return np.array(color_profiles.to_srgb(image))


def _split(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image]:
    """The sRGB colors and the opacity of a picture that has one."""
    with _supported(image, name):
        layer = image.convert("RGBA")
        # the profile is of the colors; those of gray pictures are gray
        colors = image.convert("L") if image.mode in ("LA", "La") else layer.convert("RGB")
        return color_profiles.to_srgb(colors), layer.getchannel("A")


@contextlib.contextmanager
def _supported(image: Image.Image, name: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise UserError(
            f"{name}: images of color mode {image.mode} are not supported; convert it to RGB"
        ) from None


def _deep_gray(image: Image.Image, name: str) -> np.ndarray:
    """Scales 16-bit, 32-bit and floating gray to float32 (H, W) in [0, 1].

    The file does not say which value is white: it is 65535 for integers, 1 for floats, and 255 for
    floats if a value is larger than 1.
    """
    gray = np.asarray(image).astype(np.float64)
    largest = gray.max(initial=0.0)
    float_white = 1.0 if largest <= 1.0 else 255.0
    white = float_white if image.mode == "F" else 65535.0
    if not np.isfinite(gray).all() or largest > white:
        raise UserError(f"{name}: the gray values are out of range; save it with 8 or 16 bits")
    return np.clip(gray / white, 0.0, 1.0).astype(np.float32)
