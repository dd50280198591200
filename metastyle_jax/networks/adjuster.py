"""Lambda: a network that moves a style by the weights of the style layers.

Babaeizadeh & Ghiasi 2020 ("Adjustable real-time style transfer", section 3): the weight of each
layer's loss, alpha, is an input. A multilayer perceptron turns it into the scale and the bias of
every instance norm. Here it gives their distance from a style: that style is the bias of its last
layer, and what else says where a style is (a predictor, gradient steps) moves it further.

With a code, a narrow linear layer before the last one, the last kernel has as few rows as the code
has units. So each style can have a last kernel of its own, which gradient steps move, in a small
file.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp

from metastyle_jax.networks import predictor
from metastyle_jax.networks.predictor import OUTPUT_SCALE, Params
from metastyle_jax.networks.stylization_network import Style

_HIDDEN = "hidden{}"
_CODE = "code"
OUTPUT = "output"  # what each style may have for itself


def init(
    key: jax.Array,
    style: Style,
    *,
    inputs: int,
    hidden: int,
    layers: int,
    code: int = 0,
    deviation: float = 0.0,
) -> Params:
    """A new adjuster.

    Args:
      key: for `jax.random`.
      style: the style it moves, leaves (C,).
      inputs: L, style layers.
      hidden: units of each hidden layer.
      layers: hidden layers, 1 or more.
      code: units of a linear layer between these and the last one; 0 for none.
      deviation: every kernel is drawn from N(0, deviation^2), as in the paper, which writes
        N(0, 0.01). 0: hidden kernels by He et al. 2015, and 0 in the last layer, so that at first
        every alpha gives `style` itself.

    Returns:
      {"hidden0": {"kernel", "bias"}, ..., "code": {"kernel", "bias"}, "output": {"kernel"}},
      float32.
    """
    numbers = sum(leaf.size for leaf in jax.tree.leaves(style))
    sizes = [inputs, *[hidden] * layers, *([code] if code else [])]
    names = [*map(_HIDDEN.format, range(layers)), _CODE]
    params = {}
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        kernel = jax.random.normal(jax.random.fold_in(key, number), (fan_in, fan_out))
        kernel *= deviation or (2 / fan_in) ** 0.5
        params[names[number]] = {"kernel": kernel, "bias": jnp.zeros(fan_out)}
    last = deviation * jax.random.normal(jax.random.fold_in(key, len(params)), (sizes[-1], numbers))
    return {**params, OUTPUT: {"kernel": last}}


def inputs(params: Params) -> int:
    """L, the style layers whose weights it reads."""
    return params[_HIDDEN.format(0)]["kernel"].shape[0]


def repeat(params: Params, count: int) -> Params:
    """`params` with every style's last kernel `count` times; one that all share stays one."""
    kernel = params[OUTPUT]["kernel"]
    if kernel.ndim == 2:
        return params
    return {**params, OUTPUT: {"kernel": jnp.repeat(kernel, count, axis=0)}}


def adjust(params: Params, alpha: jax.Array, style: Style) -> Style:
    """The styles at given weights of the style layers, leaves (N, C).

    Args:
      params: see `init`; the last kernel may be (N, ...), one for each.
      alpha: (N, L) in [0, 1], in the order of the training's style layers.
      style: what is moved, leaves (C,), or (N, C) for one each.
    """
    # around 0: an alpha in the middle says nothing of itself
    hidden = 2 * alpha - 1
    for number in range(sum(name not in (_CODE, OUTPUT) for name in params)):
        hidden = jax.nn.relu(predictor.dense(params[_HIDDEN.format(number)], hidden))
    if _CODE in params:
        hidden = predictor.dense(params[_CODE], hidden)
    hidden *= OUTPUT_SCALE / hidden.shape[-1]  # as in the predictor, for the same reason
    kernel = params[OUTPUT]["kernel"]
    moved = hidden @ kernel if kernel.ndim == 2 else jnp.einsum("nh,nhp->np", hidden, kernel)
    offsets = predictor.split_like(moved, style)
    return jax.tree.map(
        lambda leaf, offset: (leaf if leaf.ndim > 1 else leaf[None]) + offset, style, offsets
    )
