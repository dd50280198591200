"""Reading, checking and writing image files."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image

from metastyle_jax.data import decoding
from metastyle_jax.data.listing import list_images as list_images  # also for users of this module
from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.storage.home_folder import is_folder

MINIMUM_SIDE = 16


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an image file as float32 sRGB of shape (H, W, 3) in [0, 1].

    EXIF rotation is applied, transparency is composited on white, the first frame of an animation
    is used, and colors are converted from the embedded profile, if there is a usable one, to sRGB
    (not those of 16-bit gray). Files of 16 bits per channel are scaled by 65535 where Pillow
    delivers all 16 bits (gray), and truncated by it to 8 bits elsewhere.

    Raises:
      UserError: one sentence naming the file: missing, a folder, empty, unreadable, no image,
        damaged, of an unsupported color mode, or of more than `decoding.MAX_PIXELS` pixels.
    """
    data = read_bytes(path)
    with decoding.quiet_about_large_images():
        return decode_image(data, str(path))


def inspect_image(path: str | os.PathLike[str], minimum: int = MINIMUM_SIDE) -> decoding.Header:
    """Reads the header of an image file, which is much faster than decoding.

    Raises:
      UserError: as `read_image`, except for damage after the header; or a side is below `minimum`.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise UserError(f"{path}: this is no ordinary file; save it as one first")
        with path.open("rb"), decoding.quiet_about_large_images():
            header = decoding.check_header(path)
    except OSError as error:
        raise _read_error(path, error) from None
    _check_side(header.width, header.height, path, minimum)
    return header


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes the bytes of an image file, with the result and the errors of `read_image`.

    `name` is the name of the image in error messages.
    """
    return as_float(decoding.decode_native(io.BytesIO(data), name))


def as_float(image: np.ndarray) -> np.ndarray:
    """Converts uint8 or floating (..., 3) to float32 in [0, 1]; float32 is returned as it is."""
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255.0)
    return image.astype(np.float32, copy=False)


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Converts floats in [0, 1] to uint8, clipped and rounded, NaN to 0; uint8 is unchanged."""
    if image.dtype == np.uint8:
        return image
    finite = np.nan_to_num(np.asarray(image, np.float32), nan=0.0)
    return np.rint(np.clip(finite, 0.0, 1.0) * 255.0).astype(np.uint8)


def check_minimum_size(
    image: np.ndarray, path: str | os.PathLike[str], minimum: int = MINIMUM_SIDE
) -> None:
    """Raises `UserError` if a side of `image` (H, W, 3), read from `path`, is below `minimum`."""
    height, width = image.shape[:2]
    _check_side(width, height, path, minimum)


def _check_side(width: int, height: int, path: str | os.PathLike[str], minimum: int) -> None:
    if min(height, width) < minimum:
        raise UserError(
            f"{path}: the image is {width}x{height} pixels, too small to stylize; "
            f"use one of at least {minimum} pixels on each side"
        )


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes (H, W, 3), uint8 or floats in [0, 1] (clipped, rounded), as a PNG file.

    The file appears complete or not at all. Its folder is created if needed, and an existing file
    is replaced. Pictures for users, in other formats too: `picture_writer`.

    Raises:
      UserError: one sentence naming the file: its name does not end in .png, or it cannot be
        written (no space, no permission).
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are written as PNG; give a name that ends in .png")
    picture = Image.fromarray(as_uint8(image))
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        picture.save(file, format="PNG")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file.

    Raises:
      UserError: one sentence naming the file: missing, a folder, empty, not readable.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _read_error(path, error) from None
    if not data:
        raise UserError(f"{path}: the file is empty; replace it")
    return data


def _read_error(path: Path, error: OSError) -> UserError:
    if isinstance(error, IsADirectoryError) or is_folder(path):
        return UserError(f"{path}: this is a folder; give an image file")
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):  # noqa: PTH114
            return UserError(f"{path}: this is a link to a file that is not there; remove it")
        return UserError(f"{path}: there is no such file; check the name")
    remedy = "check its permissions"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "check the name"
    return UserError(f"{path}: the file cannot be read ({error.strerror or error}); {remedy}")
