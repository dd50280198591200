"""Resampling of images held as arrays."""

from __future__ import annotations

import numpy as np
from PIL import Image

from metastyle_jax.data.decoding import MAX_PIXELS
from metastyle_jax.errors import UserError


def resample(
    image: np.ndarray,
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Resamples (H, W, 3), or the part of it inside `box`, to (height, width, 3) of its dtype.

    `box` is (left, upper, right, lower) in pixels of `image`, fractions allowed; the whole image
    by default. The filter is Lanczos, widened when shrinking (no aliasing). uint8 or float32 in
    [0, 1], and clipped to that range.
    """
    if image.dtype == np.uint8:
        picture = Image.fromarray(np.ascontiguousarray(image))
        # Halving by averages first, down to 3 times the target, costs no visible quality.
        return np.array(picture.resize((width, height), Image.Resampling.LANCZOS, box, 3.0))
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(image[:, :, c], np.float32)).resize(
                (width, height), Image.Resampling.LANCZOS, box, 3.0
            )
        )
        for c in range(image.shape[2])
    ]
    return np.clip(np.stack(channels, axis=2), 0.0, 1.0)


def resized_sides(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of what `resize_short_side` makes of a picture."""
    scale = size / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_short_side(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes (H, W, 3) so that its shorter side is `size` pixels, keeping the proportions.

    Raises:
      UserError: if the result would have more than `decoding.MAX_PIXELS` pixels.
    """
    height, width = image.shape[:2]
    new_height, new_width = resized_sides(height, width, size)
    if new_height * new_width > MAX_PIXELS:
        raise UserError(
            f"an image of {width}x{height} pixels, resized to a short side of {size}, "
            "would be too large; crop it or choose a smaller size"
        )
    if (new_height, new_width) == (height, width):
        return image
    return resample(image, new_height, new_width)


def center_crop_resized(image: np.ndarray, size: int) -> np.ndarray:
    """Cuts the largest central square out of (H, W, 3) and resizes it to (size, size, 3)."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return resample(image, size, size, (left, top, left + side, top + side))


def random_resized_crop(
    image: np.ndarray,
    size: int,
    rng: np.random.Generator,
    *,
    min_scale: float = 1.0,
    max_scale: float = 1.0,
) -> np.ndarray:
    """Cuts a random square out of (H, W, 3), as (size, size, 3) of the same dtype.

    Equal to resizing the short side to a random length between `min_scale` and `max_scale` times
    `size`, 1 or more, and cropping at random, but in one resampling; images of any size are brought
    to `size`.
    """
    height, width = image.shape[:2]
    side = min(height, width) / rng.uniform(min_scale, max(min_scale, max_scale))
    left, top = rng.uniform(0.0, width - side), rng.uniform(0.0, height - side)
    # Rounding may carry the far edge past the image, which Pillow refuses.
    right, bottom = min(left + side, width), min(top + side, height)
    return resample(image, size, size, (left, top, right, bottom))
