"""Optimizers of pixels: Adam, and L-BFGS without a line search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax.numpy as jnp
import optax

# how far one step of L-BFGS may move a picture: root mean square over its pixels
TRUST_RADIUS = 0.1


def lbfgs(learning_rate: float) -> optax.GradientTransformation:
    """L-BFGS with steps of a fixed rate, of one gradient each, within a trust radius.

    A line search would evaluate the network in a loop, for which XLA:CPU has no fast convolutions,
    and for as long as the slowest of the N pictures needs. In its place steps along which the
    gradient did not grow are left out of the memory, and a step that would move the picture too
    far is shortened.
    """
    # optax's annotations list trees, not the arrays that are all of them here
    inner = cast(Any, optax.scale_by_lbfgs(memory_size=10))

    def update(updates: Any, state: Any, params: Any = None):
        curvature = jnp.vdot(updates - state.updates, params - state.params)
        # as if the last step had not been taken: a pair of zeros is ignored
        before = state._replace(
            params=jnp.where(curvature > 0, state.params, params),
            updates=jnp.where(curvature > 0, state.updates, updates),
        )
        direction, state = inner.update(updates, before, params)
        length = learning_rate * jnp.sqrt(jnp.square(direction).mean())
        shorter = jnp.minimum(1.0, TRUST_RADIUS / jnp.maximum(length, 1e-12))
        return -learning_rate * shorter * direction, state

    return optax.GradientTransformation(inner.init, update)


OPTIMIZERS: Mapping[str, Callable[[float], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "lbfgs": lbfgs,
}
