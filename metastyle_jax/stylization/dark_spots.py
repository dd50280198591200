"""Content noise: dark spots on a picture, which only the network sees.

Babaeizadeh & Ghiasi 2020 (figure 10) multiply the content by a smooth mask with a few dark spots at
random places. The network draws other strokes there, so that one style gives many drawings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST = 9
# how much light the middle of a spot loses; one value, because number, places and sizes vary.
# Weaker spots vary the drawing less; in black ones the content would be gone (docs/applying.md)
DEPTH = 0.8
RADII = (0.06, 0.15)  # least and most
_DECIMALS = 4


class Spot(NamedTuple):
    """A dark spot of Gaussian form, at the same place on pictures of all sizes.

    Attributes:
      x, y: its middle, as shares of width and height, 0 to 1.
      radius: standard deviation of the Gaussian, as a share of the short side.
    """

    x: float
    y: float
    radius: float


def draw_spots(random: np.random.Generator) -> tuple[Spot, ...]:
    """One to nine spots; number, places and radii are uniform."""
    count = random.integers(1, MOST, endpoint=True)
    numbers = random.uniform((0, 0, RADII[0]), (1, 1, RADII[1]), (count, 3))
    return tuple(Spot(*map(float, row)) for row in numbers.round(_DECIMALS))


def mask(
    spots: Sequence[Spot], height: int, width: int, rows: np.ndarray | None = None
) -> np.ndarray:
    """What a picture is multiplied by: 1 far from all spots, `1 - DEPTH` in the middle of each.

    Args:
      spots: may overlap; where they do, it is no darker than in the middle of one.
      height, width: of the picture, pixels.
      rows: (h,), the rows that are wanted; None for all.

    Returns:
      (h, width) float32.
    """
    rows = np.arange(height) if rows is None else rows
    short = min(height, width)
    vertical = (rows + 0.5).astype(np.float32) / short
    horizontal = (np.arange(width) + 0.5).astype(np.float32) / short
    light = np.ones((len(rows), width), np.float32)
    for spot in spots:
        down = _gaussian(vertical - spot.y * height / short, spot.radius)
        across = _gaussian(horizontal - spot.x * width / short, spot.radius)
        light *= 1 - down[:, None] * across
    return 1 - np.float32(DEPTH) * (1 - light)


def _gaussian(distance: np.ndarray, deviation: float) -> np.ndarray:
    return np.exp(-0.5 * np.square(distance / np.float32(deviation))).astype(np.float32)
