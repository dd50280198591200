"""Regions that a visitor paints, one color for each style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError

# far from each other, so that antialiased edges belong to one of two
COLORS = ("#e53935", "#1e88e5", "#fdd835")
_VALUES = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS], np.float32)
_HALF = 128  # opacity from which a pixel counts as painted


def masks(painted: Mapping[str, Any] | None) -> np.ndarray:
    """What was painted.

    Args:
      painted: of a `gradio.ImageEditor`: {"layers": [(H, W, 4) uint8, ...], ...}; None if it is
        empty.

    Returns:
      (1 + len(COLORS), H, W) float32, 0 or 1: where nothing was painted, then each color. They
      add up to 1.

    Raises:
      UserError: nothing was painted.
    """
    layers = [np.asarray(layer) for layer in (painted or {}).get("layers", [])]
    layers = [layer for layer in layers if layer.ndim == 3 and layer.shape[-1] == 4]
    if not layers or not any((layer[..., 3] >= _HALF).any() for layer in layers):
        raise UserError("no region is painted: paint on the picture with one of the colors")
    which = np.zeros(layers[0].shape[:2], np.int64)  # 0 where nothing is painted
    for layer in layers:  # the last one lies on top
        distances = np.square(layer[..., None, :3] - _VALUES).sum(axis=-1)
        which = np.where(layer[..., 3] >= _HALF, 1 + distances.argmin(axis=-1), which)
    return (which == np.arange(1 + len(COLORS))[:, None, None]).astype(np.float32)


def used(found: np.ndarray, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The styles and masks of those regions that are there.

    Args:
      found: see `masks`.
      names: of the style elsewhere, and for each color.
    """
    there = [number for number, mask in enumerate(found) if mask.any()]
    return [names[number] for number in there], found[there]
