"""Pictures that a program holds: arrays, Pillow images, or the paths of files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

from metastyle_jax.data import decoding, images


def check_array(array: Any, *, dimensions: tuple[int, ...] = (3,)) -> None:
    """Refuse an array that is no picture.

    Args:
      array: NumPy or JAX array; (H, W, 3) or, with dimension 4, (N, H, W, 3); uint8, or floats in
        [0, 1].
      dimensions: numbers of dimensions that are allowed.

    Raises:
      TypeError: another dtype, or no array at all.
      ValueError: another shape, or values outside [0, 1].
    """
    if not (hasattr(array, "dtype") and hasattr(array, "ndim")):
        raise TypeError(f"give an array or a Pillow image, not {type(array).__name__}")
    if array.ndim not in dimensions or array.shape[-1] != 3 or not array.size:
        shapes = " or ".join({3: "(H, W, 3)", 4: "(N, H, W, 3)"}[n] for n in dimensions)
        raise ValueError(f"pictures have shape {shapes}, not {array.shape}")
    if array.dtype == np.uint8:
        return
    if "float" not in array.dtype.name:  # NumPy does not count bfloat16 as floating
        raise TypeError(f"pictures are uint8, or floats in [0, 1], not {array.dtype}")
    least, most = float(array.min()), float(array.max())
    if not (least >= 0 and most <= 1):
        raise ValueError(
            f"the values of a picture must be in [0, 1], got {least:g} to {most:g}: divide by 255, "
            "or give uint8"
        )


def as_picture(picture: Any, name: str) -> np.ndarray:
    """A picture as (H, W, 3): uint8, or float32 in [0, 1] for what is deeper.

    Args:
      picture: the path of an image file, a Pillow image, or an array, see `check_array`.
      name: what to call it in messages, such as "the style image".

    Raises:
      TypeError, ValueError: see `check_array`.
      UserError: a file or a Pillow image cannot be read, or a side is below 16 pixels.
    """
    if isinstance(picture, str | os.PathLike):
        name = os.fspath(picture)
        picture = images.read_image(picture)
    if isinstance(picture, Image.Image):
        picture = decoding.picture_to_array(picture, name)
    check_array(picture)
    array = np.asarray(picture)
    images.check_minimum_size(array, name)
    return array if array.dtype == np.uint8 else images.as_float(array)
