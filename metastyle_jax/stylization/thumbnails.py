"""A small picture of a style: what it makes of a sample photograph."""

from __future__ import annotations

import numpy as np

from metastyle_jax.data import images, resizing
from metastyle_jax.data.images import read_image
from metastyle_jax.storage import initialization
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer

SIDE = 96  # pixels; those of the packs have a few more


def draw(stylizer: Stylizer) -> np.ndarray:
    """The first sample photograph in a style, all weights of its layers at 1.

    Returns:
      (SIDE, SIDE, 3) uint8.
    """
    plain = stylizer if stylizer.sliders is None else stylizer.at({})
    content = read_image(initialization.sample_images("contents")[0])
    small = images.as_uint8(resizing.center_crop_resized(content, SIDE))
    return plain.draw(small, Options())
