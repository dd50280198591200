"""Lambda: a network that moves a style by the weights of the style layers.

Babaeizadeh & Ghiasi 2020 ("Adjustable real-time style transfer", section 3): the weight of each
layer's loss, alpha, is an input. A multilayer perceptron turns it into the scale and the bias of
every instance norm. Here it gives their distance from a style: that style is the bias of its last
layer, and what else says where a style is (a predictor, gradient steps) moves it further.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp

from metastyle_jax.networks import predictor
from metastyle_jax.networks.predictor import OUTPUT_SCALE, Params, Style

_HIDDEN = "hidden{}"
_OUTPUT = "output"


def init(
    key: jax.Array,
    style: Style,
    *,
    inputs: int,
    hidden: int,
    layers: int,
    deviation: float = 0.0,
) -> Params:
    """A new adjuster.

    Args:
      key: for `jax.random`.
      style: the style it moves, leaves (C,).
      inputs: L, style layers.
      hidden: units of each hidden layer.
      layers: hidden layers, 1 or more.
      deviation: every kernel is drawn from N(0, deviation^2), as in the paper, which writes
        N(0, 0.01). 0: hidden kernels by He et al. 2015, and 0 in the last layer, so that at first
        every alpha gives `style` itself.

    Returns:
      {"hidden0": {"kernel", "bias"}, ..., "output": {"kernel"}}, float32.
    """
    numbers = sum(leaf.size for leaf in jax.tree.leaves(style))
    sizes = [inputs, *[hidden] * layers]
    params = {}
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        kernel = jax.random.normal(jax.random.fold_in(key, number), (fan_in, fan_out))
        kernel *= deviation or (2 / fan_in) ** 0.5
        params[_HIDDEN.format(number)] = {"kernel": kernel, "bias": jnp.zeros(fan_out)}
    last = deviation * jax.random.normal(jax.random.fold_in(key, layers), (hidden, numbers))
    return {**params, _OUTPUT: {"kernel": last}}


def adjust(params: Params, alpha: jax.Array, style: Style) -> Style:
    """The styles at given weights of the style layers, leaves (N, C).

    Args:
      params: see `init`.
      alpha: (N, L) in [0, 1], in the order of the training's style layers.
      style: what is moved, leaves (C,), or (N, C) for one each.
    """
    # around 0: an alpha in the middle says nothing of itself
    hidden = 2 * alpha - 1
    for number in range(len(params) - 1):
        hidden = jax.nn.relu(predictor.dense(params[_HIDDEN.format(number)], hidden))
    hidden *= OUTPUT_SCALE / hidden.shape[-1]  # as in the predictor, for the same reason
    offsets = predictor.split_like(hidden @ params[_OUTPUT]["kernel"], style)
    return jax.tree.map(
        lambda leaf, offset: (leaf if leaf.ndim > 1 else leaf[None]) + offset, style, offsets
    )
