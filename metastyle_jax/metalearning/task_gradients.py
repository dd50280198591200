"""How the meta-gradients of several tasks become one.

Their mean is the gradient of the mean loss. But the gradients of styles differ in size by a factor
of ten, so that a few styles are most of the mean; `normalized` gives each the same say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from metastyle_jax.metalearning.structures import Axes, Batch

MEAN, NORMALIZED = "mean", "normalized"
COMBINATIONS = (MEAN, NORMALIZED)

Tree = TypeVar("Tree")
_TINY = 1e-20  # an array of smaller numbers counts as zero: it is rounding, and has no direction


def per_task(
    gradient: Callable[[Batch, Any], tuple[Tree, dict[str, jax.Array]]],
    batch: Batch,
    *,
    unroll: bool,
) -> tuple[Tree, dict[str, jax.Array]]:
    """Gradients and metrics of each style alone.

    Args:
      gradient: (batch of one style, its number in `batch`) -> (gradient, metrics).
      batch: of S styles.
      unroll: one after the other, not in a loop: faster on CPU, but compiles S copies.

    Returns:
      Both with a leading axis of length S.
    """

    def one(number: Any) -> tuple[Tree, dict[str, jax.Array]]:
        style = jax.lax.dynamic_slice_in_dim(batch.styles, number, 1)
        return gradient(dataclasses.replace(batch, styles=style), number)

    count = len(batch.styles)
    if not unroll:
        return jax.lax.map(one, jnp.arange(count, dtype=jnp.int32))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(one, range(count)))


def normalized(gradients: Tree, axes: Axes) -> Tree:
    """The mean of gradients that were each brought to the same size, array by array.

    Each array of a task is divided by its own root mean square. The mean is multiplied by the mean
    of these, so that the result is about as large as a single gradient.

    Args:
      gradients: leaves (S, ...), those of this device; the same on all devices that share styles.
      axes: mapped axes.

    Returns:
      Leaves (...), the same on every device.
    """

    def combine(leaf: jax.Array) -> jax.Array:
        rest = tuple(range(1, leaf.ndim))
        # by the largest number first: squares of small ones are zero in float32
        largest = jnp.abs(leaf).max(axis=rest, keepdims=True)
        scaled = jnp.where(largest > _TINY, leaf / jnp.maximum(largest, _TINY), 0)
        size = jnp.sqrt(jnp.mean(jnp.square(scaled), axis=rest, keepdims=True))
        parts = jnp.mean(scaled / jnp.maximum(size, _TINY), axis=0), jnp.mean(size * largest)
        if axes.styles is not None:
            parts = jax.lax.pmean(parts, axes.styles)
        direction, mean_size = parts
        return direction * mean_size

    return jax.tree.map(combine, gradients)
