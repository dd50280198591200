"""Pillow images, drawn by what draws arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from metastyle_jax.data import decoding, images


def draw(network: Callable[[np.ndarray], np.ndarray], picture: Image.Image) -> Image.Image:
    """A Pillow image as `network` draws its colors, with its transparency."""
    layers = decoding.image_layers(picture, "the picture")
    drawn = Image.fromarray(images.as_uint8(network(layers.colors)))
    if layers.opacity is not None:
        drawn.putalpha(Image.fromarray(layers.opacity).resize(drawn.size))
    return drawn
