"""Clipping of inner gradients, with finite derivatives where the gradient is zero."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

PyTree = Any


def clip_by_task_norm(max_norm: float) -> optax.GradientTransformation:
    """`clip_by_norm`, with a norm of each task's own.

    Args:
      max_norm: largest norm of the gradient of one task. Leaves of the gradient are (tasks, ...).
    """
    return _clip(max_norm, first_axis=1)


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, whose derivative at a gradient of zero is NaN, without that.

    Args:
      max_norm: largest norm of the whole gradient.
    """
    return _clip(max_norm, first_axis=0)


def _clip(max_norm: float, *, first_axis: int) -> optax.GradientTransformation:
    """By the norm over all leaves, and all axes from the first on."""

    def update(updates: PyTree, state: Any, params: PyTree = None):
        del params
        squares = [
            jnp.square(leaf).sum(axis=tuple(range(first_axis, leaf.ndim)))
            for leaf in jax.tree.leaves(updates)
        ]
        # the root only where the norm is too large: at zero its derivative is infinite
        total = jnp.maximum(sum(squares), max_norm**2)
        factor = max_norm / jnp.sqrt(total)

        def clip(leaf: jax.Array) -> jax.Array:
            return leaf * factor.reshape(factor.shape + (1,) * (leaf.ndim - first_axis))

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
