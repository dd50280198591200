"""Losses of layers brought to one size by their moving averages (Babaeizadeh & Ghiasi 2020).

The loss of layer l becomes (sum of the means of all layers / mean of l) * loss of l, so that equal
weights mean equal shares. Means are exponential moving averages over the steps of a training. They
are constants in the gradient.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from metastyle_jax.losses.perceptual import Emphasis, Objective

# {"content": {layer: ()}, "style": {layer: ()}}
Averages = dict[str, dict[str, jax.Array]]


def init(objective: Objective) -> Averages:
    """Averages before the first step: 0."""
    layers = {"content": objective.content_layers, "style": objective.style_layers}
    return {kind: {layer: jnp.zeros(()) for layer in names} for kind, names in layers.items()}


def update(averages: Averages, errors: Mapping[str, jax.Array], decay: float) -> Averages:
    """The averages after a step.

    They start from 0 and all are too small by the same factor, 1 - decay^steps, which `factors`
    does not see.

    Args:
      averages: before it.
      errors: () by name, such as "style_relu3_3", see `perceptual.perceptual_loss`.
      decay: 0 to below 1.
    """
    return {
        kind: {
            layer: decay * mean + (1 - decay) * errors[f"{kind}_{layer}"]
            for layer, mean in layers.items()
        }
        for kind, layers in averages.items()
    }


def factors(averages: Averages) -> Averages:
    """Sum of the averages over each: what a layer's loss is multiplied by; constants.

    1 where an average is 0, as all are before the first step.
    """
    averages = jax.lax.stop_gradient(averages)
    total = functools.reduce(operator.add, jax.tree.leaves(averages))
    return jax.tree.map(
        lambda mean: jnp.where(mean > 0, total / jnp.where(mean > 0, mean, 1), 1), averages
    )


def emphasis(
    objective: Objective, factors: Averages | None, alpha: jax.Array | None
) -> Emphasis | None:
    """What multiplies the error of each layer; None if nothing does.

    Args:
      objective: names the layers.
      factors: see there; None for 1.
      alpha: (N, L) weights of the style layers, for each sample; None for 1. That of the content
        is 1.
    """
    if alpha is None:
        return factors
    chosen = jax.tree.map(jnp.ones_like, init(objective)) if factors is None else factors
    style = {
        layer: chosen["style"][layer] * alpha[:, index]
        for index, layer in enumerate(objective.style_layers)
    }
    return {"content": chosen["content"], "style": style}
