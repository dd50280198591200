"""Pictures that visitors of the page send."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metastyle_jax.data import images, resizing, sent_pictures
from metastyle_jax.errors import UserError

PHOTOGRAPH = "the photograph"
ARTWORK = "the artwork"
LONGEST_STYLE = 512  # short side of an artwork, as in `adapt`


def read(path: str | None, what: str, pixels: int) -> np.ndarray:
    """A picture, rotated as its EXIF data say, in sRGB.

    Args:
      path: of the uploaded file; None if there is none yet.
      what: `PHOTOGRAPH` or `ARTWORK`, for messages.
      pixels: that it may have; more are refused by the header.

    Returns:
      (H, W, 3) uint8.

    Raises:
      UserError: there is none, it is no picture, damaged, too large or too small.
    """
    if not path:
        raise UserError(f"{what} is missing: drop a picture there, or take the sample")
    data = Path(path).read_bytes()
    width, height = sent_pictures.sides(data, what)
    if width * height > pixels:
        raise UserError(
            f"{what} has {width}x{height} pixels, at most {pixels} are taken here: make it smaller"
        )
    colors = sent_pictures.decode(data, what).colors
    images.check_minimum_size(colors, what)
    return colors


def at_most(picture: np.ndarray, short_side: int) -> np.ndarray:
    """`picture` with a short side of at most that many pixels."""
    if min(picture.shape[:2]) <= short_side:
        return picture
    return resizing.resize_short_side(picture, short_side)
