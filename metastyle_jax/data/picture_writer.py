"""Writing pictures as PNG, JPEG, WebP or TIFF, with a record of what they were made of."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, PngImagePlugin

from metastyle_jax.data.images import as_uint8
from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}  # by ending
_SAME = {"jpeg": "jpg", "jpe": "jpg", "tiff": "tif"}
QUALITY = 95  # of JPEG and WebP
_LONGEST = {"jpg": 65_500, "webp": 16_383}  # side that the format, or what writes it, can have
_KEYWORD = "metastyle_jax made of"  # of a PNG's text
_DESCRIPTION = 0x010E  # the EXIF tag ImageDescription
_PREFIX = f"{_KEYWORD}: "


def ending_of(path: str | os.PathLike[str]) -> str:
    """The ending of the format that a file's name stands for, such as "jpg"; "" for others."""
    ending = Path(path).suffix.lower().lstrip(".")
    ending = _SAME.get(ending, ending)
    return ending if ending in FORMATS else ""


def check_sides(
    name: str | os.PathLike[str], ending: str, height: int, width: int, *, by: str
) -> None:
    """Refuse a picture that its format cannot hold, before it is drawn.

    Args:
      name: of the picture, for the message.
      ending: one of `FORMATS`.
      height, width: of the picture, pixels.
      by: what to do about it, for the message.

    Raises:
      UserError: a side is too long.
    """
    longest = _LONGEST.get(ending, max(height, width))
    if max(height, width) > longest:
        raise UserError(
            f"{name}: drawn it has {width}x{height} pixels, and {FORMATS[ending]} holds at most "
            f"{longest} on a side: {by}"
        )


def write_picture(
    path: str | os.PathLike[str],
    image: np.ndarray,
    *,
    opacity: np.ndarray | None = None,
    quality: int = QUALITY,
    record: str = "",
) -> None:
    """Write a picture, whole or not at all.

    Args:
      path: its ending says the format: .png, .jpg, .webp or .tif. Its folder is created if needed,
        and an existing file is replaced.
      image: (H, W, 3), uint8 or floats in [0, 1] (clipped, rounded).
      opacity: (H, W) uint8. JPEG has none: the picture is put on white.
      quality: of JPEG and WebP, 1 to 100.
      record: Latin-1 text to keep in the header, see `read_record`.

    Raises:
      UserError: one sentence naming the file: another ending, a side that is too long for the
        format, or it cannot be written.
    """
    path = Path(path)
    ending = ending_of(path)
    if not ending:
        raise UserError(f"{path}: give a name that ends in .{', .'.join(FORMATS)}")
    check_sides(path, ending, *image.shape[:2], by="write it as .png or .tif, or make it smaller")
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        encode(file, ending, image, opacity=opacity, quality=quality, record=record)


def encode(
    file: IO[bytes],
    ending: str,
    image: np.ndarray,
    *,
    opacity: np.ndarray | None = None,
    quality: int = QUALITY,
    record: str = "",
) -> None:
    """Write a picture to an open file; `ending` is one of `FORMATS`, see `write_picture`."""
    picture = Image.fromarray(as_uint8(image))
    if opacity is not None:
        picture.putalpha(Image.fromarray(opacity))
        if ending == "jpg":
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture).convert("RGB")
    picture.save(file, format=FORMATS[ending], **_options(ending, quality, record))


def _options(ending: str, quality: int, record: str) -> dict[str, Any]:
    if ending == "png":
        header = PngImagePlugin.PngInfo()
        if record:
            header.add_text(_KEYWORD, record)
        return {"pnginfo": header}
    exif = Image.Exif()
    if record:
        exif[_DESCRIPTION] = _PREFIX + record
    options: dict[str, Any] = {"exif": exif}
    if ending == "tif":
        return {**options, "compression": "tiff_deflate"}
    if ending == "jpg" and quality >= 90:
        options["subsampling"] = 0  # thin colored strokes keep their colors
    return {**options, "quality": quality}


def read_record(path: str | os.PathLike[str]) -> str | None:
    """The record that `write_picture` kept in the header; None if there is none.

    Not for threads, because it changes limits and silences warnings of the process.
    """
    try:
        with _any_size(), Image.open(path, formats=tuple(FORMATS.values())) as image:
            if image.format == "PNG":
                return image.info.get(_KEYWORD)
            text = str(image.getexif().get(_DESCRIPTION, ""))
    except (OSError, SyntaxError, ValueError):  # no such file, or none of these formats
        return None
    return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else None


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Pillow refuses pictures from 179 megapixels on, which a drawing may have."""
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = most
