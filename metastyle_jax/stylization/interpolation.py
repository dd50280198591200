"""Grids of drawings between styles (Zhang et al. 2019, figure 6) and over strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.stylization import blending
from metastyle_jax.stylization.options import STRONGEST, Options
from metastyle_jax.stylization.stylizer import Stylizer

MOST_STYLES = 4
STRENGTHS = (0.25, 0.5, 1.0)  # rows between two styles

Rows = list[list[np.ndarray | None]]


def grid(stylizers: Sequence[Stylizer], image: np.ndarray, cells: int = 5) -> Rows:
    """Draw a picture in styles and between them.

    Args:
      stylizers: one to four of one network. One: a row of strengths, up to 1 where no neutral style
        is known. Two: from the first to the second, in three strengths. Three: a triangle. Four: a
        square.
      image: (H, W, 3), uint8 or float32 in [0, 1].
      cells: pictures along a side, 2 or more.

    Returns:
      Rows of pictures; None where a triangle has no cell.

    Raises:
      UserError: there are more styles, or they belong to different weights.
    """
    if not 1 <= len(stylizers) <= MOST_STYLES:
        raise UserError(f"a grid is of one to {MOST_STYLES} styles, not {len(stylizers)}")
    if len(stylizers) == 1:
        (stylizer,) = stylizers
        strengths = np.linspace(0, STRONGEST if stylizer.has_neutral_style else 1, cells)
        return [[stylizer.draw(image, Options(float(strength))) for strength in strengths]]
    rows = [
        [None if shares is None else _blend(stylizers, shares) for shares in row]
        for row in _shares(len(stylizers), cells)
    ]
    if len(stylizers) == 2:
        return [
            [each.draw(image, Options(strength)) for each in rows[0] if each]
            for strength in STRENGTHS
        ]
    return [[each.draw(image) if each else None for each in row] for row in rows]


def _blend(stylizers: Sequence[Stylizer], shares: Sequence[float]) -> Stylizer:
    return blending.blend(list(zip(stylizers, shares, strict=True)))


def _shares(styles: int, cells: int) -> list[list[tuple[float, ...] | None]]:
    """The shares of the styles in each cell, each style at a corner."""
    steps = np.linspace(0, 1, cells)
    if styles == 2:
        return [[(1 - x, x) for x in steps]]
    if styles == 3:
        return [[(1 - x - y, x, y) if x + y <= 1 + 1e-9 else None for x in steps] for y in steps]
    return [[((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y) for x in steps] for y in steps]
