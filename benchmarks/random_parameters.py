"""Random parameters of a network, for checks and timings that need no trained ones."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def draw(shapes: Any, seed: int) -> Any:
    """Every entry random, the style's too: with the neutral one many gradients are zero.

    Args:
      shapes: pytree of `jax.ShapeDtypeStruct` whose leaves are called kernel, bias or scale.
      seed: of the numbers.

    Returns:
      The same tree of float32 arrays.
    """
    random = np.random.default_rng(seed)

    def leaf(path: tuple, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        values = random.standard_normal(shape.shape)
        if path[-1].key == "kernel":
            values /= np.sqrt(np.prod(shape.shape[:-1]))
        else:
            values = 0.2 * values + (path[-1].key == "scale")
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
