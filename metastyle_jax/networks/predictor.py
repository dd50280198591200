"""A network that predicts a style from its image: where an adaptation may start.

Ghiasi et al. 2017 ("Exploring the structure of a real-time, arbitrary neural artistic stylization
network") predict the parameters of the instance norms from an image of the style. Here a prediction
is a start: a few gradient steps follow it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.networks.stylization_network import Style

Params = dict[str, Any]

# within the logarithm: a channel may be dead on an image
EPSILON = 1e-3
# of the output over its number of hidden units: Adam moves every weight by its rate, and the
# prediction by that times all hidden units, which without this is a wild start
OUTPUT_SCALE = 4.0


def statistics(features: Mapping[str, jax.Array]) -> jax.Array:
    """Logarithms of each channel's mean and deviation: (N, h, w, C) by layer -> (N, 2 sum C)."""
    parts = []
    for x in features.values():
        parts += [x.mean(axis=(1, 2)), x.std(axis=(1, 2))]
    return jnp.log(jnp.concatenate(parts, axis=-1) + EPSILON)


def init(key: jax.Array, style: Style, *, inputs: int, hidden: int) -> Params:
    """A predictor whose every prediction is `style`, to begin with.

    Args:
      key: for `jax.random`.
      style: leaves (C,).
      inputs: length of `statistics`.
      hidden: units of its one hidden layer.

    Returns:
      {"hidden": {"kernel", "bias"}, "output": {"kernel", "bias"}}, float32.
    """
    kernel = jax.random.normal(key, (inputs, hidden)) * (2 / inputs) ** 0.5
    numbers = sum(leaf.size for leaf in jax.tree.leaves(style))
    layer = {"kernel": jnp.zeros((hidden, numbers)), "bias": jnp.zeros(numbers)}
    params = {"hidden": {"kernel": kernel, "bias": jnp.zeros(hidden)}, "output": layer}
    return around(params, style)


def around(params: Params, style: Style) -> Params:
    """`params` with `style`, leaves (C,), as what they predict before they see anything."""
    bias = jnp.concatenate(jax.tree.leaves(style))
    return {**params, "output": {**params["output"], "bias": bias}}


def predict_from_images(
    params: Params, network: FeatureNetwork, layers: Iterable[str], images: jax.Array, like: Style
) -> Style:
    """Styles, leaves (N, C) in the structure of `like`, from (N, H, W, 3) images in [0, 1].

    Args:
      params: see `init`.
      network: what the predictor sees the images with, a constant.
      layers: of it, in the order of the training.
      images: of the styles.
      like: a style, leaves (C,).
    """
    inputs = jax.lax.stop_gradient(statistics(network.extract(images, layers)))
    return predict(params, inputs, like)


def predict(params: Params, inputs: jax.Array, like: Style) -> Style:
    """Styles, leaves (N, C) in the structure of `like`, from (N, ...) `statistics`."""
    hidden = jax.nn.relu(dense(params["hidden"], inputs))
    hidden *= OUTPUT_SCALE / hidden.shape[-1]
    return split_like(dense(params["output"], hidden), like)


def split_like(flat: jax.Array, like: Style) -> Style:
    """(N, sum of C) numbers as styles, leaves (N, C), in the structure of `like`."""
    leaves, tree = jax.tree.flatten(like)
    borders = np.cumsum([leaf.shape[-1] for leaf in leaves])[:-1]
    return jax.tree.unflatten(tree, jnp.split(flat, borders, axis=-1))


def dense(layer: Params, x: jax.Array) -> jax.Array:
    """(N, inputs) through {"kernel": (inputs, outputs), "bias": (outputs,)}."""
    return x @ layer["kernel"] + layer["bias"][None]


def distance(style: Style, predicted: Style) -> jax.Array:
    """Sum over parameters of the mean squared distance to the predictions, which are constants.

    Its minimum over `style`, leaves (C,), is the mean of `predicted`, leaves (N, C).
    """
    differences = jax.tree.map(
        lambda mean, each: jnp.square(mean[None] - jax.lax.stop_gradient(each)).mean(axis=0).sum(),
        style,
        predicted,
    )
    return functools.reduce(operator.add, jax.tree.leaves(differences))
