"""How an adaptation of sliders draws the weights of the style layers, and averages its steps.

The style moves almost in proportion to alpha, so the two ends of each slider say most of how. Two
steps in a row see the same contents, the second with 1 - alpha: what content and style pull at both
ends cancels in the difference, and what is left is the work of the sliders.

Each step still pulls towards its own alpha. So what an adaptation reaches is a mean over its last
steps, not the last one. Figures: docs/adjustable.md.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from metastyle_jax.networks import adjuster

PAIR = 2  # steps with the same contents
# of the last kernel, as a factor of the rate: all its rows move each number of the style
_RATE = 0.5
_TAIL = 4  # the mean is over about the last fifth of the steps


def draw(step: jax.Array, contents: int, layers: int) -> jax.Array:
    """(1, contents, layers) zeros and ones for a step from 1 on; those of an even one are opposite.

    Args:
      step: () int32.
      contents: B of the step.
      layers: L, style layers.
    """
    key = jax.random.fold_in(jax.random.key(1), (step - 1) // PAIR)
    alpha = jax.random.bernoulli(key, 0.5, (1, contents, layers)).astype(float)
    return jnp.where(step % PAIR == 1, alpha, 1 - alpha)


def average(mean: Any, reached: Any, step: int) -> Any:
    """The mean over the last steps, brought up to date.

    Polynomial-decay averaging (Shamir & Zhang 2013) with eta = 4: a mean for every
    step, without a list of the parameters of earlier ones.

    Args:
      mean: of the steps before; any pytree. Not read at step 1.
      reached: the parameters after this step.
      step: its number, from 1 on.
    """
    share = (_TAIL + 1) / (_TAIL + step)
    return jax.tree.map(lambda old, new: old + share * (new - old), mean, reached)


def scale_last_kernel(updates: Any) -> Any:
    """Updates of an adaptation, those of the adjuster's last kernel made smaller."""
    if "adjuster" not in updates:
        return updates
    last = jax.tree.map(lambda leaf: _RATE * leaf, updates["adjuster"][adjuster.OUTPUT])
    return {**updates, "adjuster": {**updates["adjuster"], adjuster.OUTPUT: last}}
