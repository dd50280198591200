"""Reading, listing, checking and writing image files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from metastyle_jax.atomic import atomic_path
from metastyle_jax.data import decoding
from metastyle_jax.errors import UserError

MINIMUM_SIDE = 16
EXTENSIONS = frozenset(["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm"])


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an image file as float32 RGB of shape (H, W, 3) in [0, 1].

    EXIF rotation is applied, transparency is composited on white, the first frame of an animation
    is used, and embedded colour profiles are ignored. Files of 16 bits per channel are scaled by
    65535 where Pillow delivers all 16 bits (grey), and truncated by it to 8 bits elsewhere.

    Raises:
      UserError: one sentence naming the file: missing, a folder, empty, unreadable, no image,
        damaged, of an unsupported colour mode, or of more than `decoding.MAX_PIXELS` pixels.
    """
    path = Path(path)
    data = _read_bytes(path)
    with decoding.quiet_about_large_images():
        return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes the bytes of an image file, with the result and the errors of `read_image`.

    `name` is what the error sentence calls the image.
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
    if min(height, width) < minimum:
        raise UserError(
            f"{path}: the image is {width}x{height} pixels, too small to stylize; "
            f"use one of at least {minimum} pixels on each side"
        )


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes (H, W, 3), uint8 or floats in [0, 1] (clipped, rounded), as a PNG file.

    The file appears whole or not at all, in a folder that is made if needed. An existing file is
    replaced.

    Raises:
      UserError: one sentence naming the file, if its name does not end in .png or writing fails (no
        space, no permission).
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are written as PNG; give a name that ends in .png")
    picture = Image.fromarray(as_uint8(image))
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        picture.save(file, format="PNG")


def list_images(path: str | os.PathLike[str], what: str) -> list[Path]:
    """Lists the files below the folder `path` that are named like images, sorted.

    Linked folders are followed, each real folder once; hidden files and folders are left out.

    Raises:
      UserError: if the folder is missing, is not a folder, is unreadable or has no images;
        `what` names it in the sentence ("content folder").
    """
    root = Path(path)
    if not root.exists():
        raise UserError(f"the {what} {root} does not exist; give an existing folder of images")
    if not root.is_dir():
        raise UserError(f"the {what} {root} is not a folder; give a folder of images")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"the {what} {root} cannot be read; change its permissions")
    found: list[Path] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [Path(folder, name) for name in files if _is_image_name(name)]
    if not found:
        known = ", ".join(sorted(EXTENSIONS))
        raise UserError(f"the {what} {root} has no images; put files of type {known} there")
    return sorted(found)


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix[1:].lower() in EXTENSIONS


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; give an image file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; check the name") from None
    except OSError as error:
        raise UserError(
            f"{path}: the file cannot be read ({error.strerror or error}); check its permissions"
        ) from None
    if not data:
        raise UserError(f"{path}: the file is empty; replace it")
    return data
