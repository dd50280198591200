"""Small pictures of different sizes and in different styles, drawn together by one program.

Meant for GPUs, which a small picture does not fill. On a CPU it gains where a picture of 64 px
fills its tile, and loses where one of 384x256 px does not (docs/results/applying.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from metastyle_jax.networks import one_tile_network, stylization_network, tile_network
from metastyle_jax.runtime import compilation
from metastyle_jax.stylization import tiling
from metastyle_jax.stylization.tiled_picture import TiledPicture

# pixels; each has a program for each number of pictures
SIDES = (tiling.SMALL_TILE, tiling.TILE, 2 * tiling.TILE)

_stylize = compilation.jit(one_tile_network.stylize)


@dataclasses.dataclass(frozen=True, eq=False)
class SmallPicture:
    """A picture to draw.

    Attributes:
      style: leaves (C,).
      image: (H, W, 3), uint8 or floats in [0, 1], 16 pixels or more on each side.
      noise: standard deviation of the input noise, 0 to 1.
    """

    style: stylization_network.Style
    image: np.ndarray
    noise: float = 0.0


def side_for(image: np.ndarray) -> int | None:
    """The least of `SIDES` that holds a picture; None if it is larger than all."""
    return next((side for side in SIDES if max(image.shape[:2]) <= side), None)


def stylize(
    weights: stylization_network.Weights,
    pictures: Sequence[SmallPicture],
    side: int,
    count: int,
) -> list[np.ndarray]:
    """Draw pictures; each as `tiling.stylize` draws it, up to rounding.

    Args:
      weights: of the network, on the device.
      pictures: one or more, of at most `side` pixels.
      side: pixels, a multiple of 4.
      count: of the pictures that the program draws; with fewer, the last one is drawn again.

    Returns:
      Pictures of the same shapes and dtypes.

    Raises:
      ValueError: a side of a picture is below 16 pixels.
    """
    for picture in pictures:
        stylization_network.check_size(*picture.image.shape[:2])
    tiled = [TiledPicture(each.image, side, each.noise, (0, 0)) for each in pictures]
    frames = [next(each.frames()) for each in tiled]
    at = np.minimum(np.arange(count), len(pictures) - 1)
    tiles = [
        each.tile(frame, tile_network.IMAGE_HALO, 4)[0]
        for each, frame in zip(tiled, frames, strict=True)
    ]
    styles = jax.tree.map(
        lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves])[at],
        *(dict(each.style) for each in pictures),
    )
    heights, widths = (np.array([frame[axis] for frame in frames])[at] for axis in (2, 3))
    drawn = np.asarray(_stylize(weights, styles, np.stack(tiles)[at], heights, widths))
    for each, frame, tile in zip(tiled, frames, drawn, strict=False):
        each.write(frame, tile[None])
    return [each.drawn for each in tiled]
