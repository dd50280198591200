"""The perceptual objective (Johnson et al. 2016, eqs. 2 to 5) with its targets computed once.

    loss = content_weight * sum over layers of content error
         + style_weight * sum over layers of style error
         + total_variation_weight * total variation
         + lattice_weight * lattice

Targets are features of contents and statistics of styles. They do not depend on the network, so
they are made once, outside every loop, and travel as data.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from metastyle_jax.losses import fusion, lattice, style_losses
from metastyle_jax.networks.feature_network import FeatureNetwork


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=(
        "content_weight",
        "style_weight",
        "total_variation_weight",
        "lattice_weight",
        "style_layer_weights",
    ),
    meta_fields=("content_layers", "style_layers", "style_loss", "normalize"),
)
@dataclasses.dataclass(frozen=True)
class Objective:
    """What is compared, by which loss, and with which weights.

    A pytree whose leaves are the weights: other weights run the same compiled program.

    Attributes:
      content_layers, style_layers: names such as `relu2_2`.
      content_weight, style_weight: factors of the two parts, numbers or () arrays.
      total_variation_weight: factor of the total variation; None leaves it out of the program.
      lattice_weight: factor of `lattice.lattice`; None leaves it out of the program.
      style_loss: for example `style_losses.gram`.
      style_layer_weights: factors of the style's layers, one each; empty for 1.
      normalize: divide each layer's error by the mean square of its target, which makes the loss
        the same size for every style and every content, so that one inner rate fits all. False is
        the paper's scaling.
    """

    content_layers: tuple[str, ...] = ("relu2_2",)
    style_layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    content_weight: float = 1.0
    style_weight: float = 1e5
    total_variation_weight: float | None = None
    lattice_weight: float | None = None
    style_loss: style_losses.StyleLoss = style_losses.gram
    style_layer_weights: tuple[float, ...] = ()
    normalize: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that the objective reads, each once."""
        return tuple(dict.fromkeys((*self.content_layers, *self.style_layers)))

    @property
    def compared(self) -> style_losses.StyleLoss:
        """`style_loss` as it is minimized: relative to the style if `normalize`."""
        return fusion.relative(self.style_loss) if self.normalize else self.style_loss


Targets = dict[str, dict[str, Any]]
# {"content": {layer: () or (N,)}, "style": ...}, factors of the error of each layer
Emphasis = Mapping[str, Mapping[str, jax.Array]]


def content_targets(objective: Objective, network: FeatureNetwork, images: jax.Array) -> Targets:
    """`{layer: {"features": (N, h, w, C), "scale": (N,)}}` of (N, H, W, 3) contents in [0, 1]."""
    features = network.extract(images, objective.content_layers)
    return {
        layer: {"features": x, "scale": _content_scale(objective, style_losses.mean_square(x))}
        for layer, x in features.items()
    }


def _content_scale(objective: Objective, magnitude: jax.Array) -> jax.Array:
    if not objective.normalize:
        return jnp.ones_like(magnitude)
    return 1 / jnp.maximum(magnitude, fusion.TINY)


def style_targets(objective: Objective, network: FeatureNetwork, images: jax.Array) -> Targets:
    """`{layer: {"statistics": leaves (N, ...), "scale": (N,)}}` of (N, H, W, 3) styles in [0, 1].

    The style's features may have any size, see `losses`; the scale is the weight of the layer.
    """
    features = network.extract(images, objective.style_layers)
    weights = objective.style_layer_weights or (1.0,) * len(objective.style_layers)
    loss = objective.compared
    return {
        layer: {
            "statistics": loss.target(loss.statistics(features[layer])),
            "scale": jnp.full(images.shape[:1], weight, images.dtype),
        }
        for layer, weight in zip(objective.style_layers, weights, strict=True)
    }


def fold_targets(
    contents: Targets, styles: Targets, count: tuple[int, int]
) -> tuple[Targets, Targets]:
    """Targets of all pairs of S styles and B contents, folded to S * B samples, styles slowest.

    Args:
      contents: leaves (B, ...).
      styles: leaves (S, ...).
      count: (S, B).
    """
    s, b = count
    tile = functools.partial(tile_contents, styles=s)
    repeat = functools.partial(jnp.repeat, repeats=b, axis=0)
    return jax.tree.map(tile, contents), jax.tree.map(repeat, styles)


def tile_contents(contents: jax.Array, styles: int) -> jax.Array:
    """(B, ...) to (styles * B, ...): the contents of every style, styles slowest."""
    return jnp.tile(contents, (styles,) + (1,) * (contents.ndim - 1))


def perceptual_loss(
    objective: Objective,
    network: FeatureNetwork,
    outputs: jax.Array,
    contents: Targets,
    styles: Targets,
    key: jax.Array | None = None,
    emphasis: Emphasis | None = None,
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Loss of each of (N, H, W, 3) `outputs` against its content and its style.

    `key` is for style losses that draw positions or directions, the same ones for all outputs.
    `emphasis` multiplies the error of each layer.

    Returns:
      (total (N,), {"content": (N,), "style": (N,)}), the parts already multiplied by their weights;
      float32 or wider. With `emphasis` also "content_relu3_3" and so on, (N,), the error of each
      layer before all weights.
    """
    features = network.extract(outputs, objective.layers)
    errors = {
        "content": _content_errors(features, contents),
        "style": style_errors(objective, features, styles, key),
    }
    parts = {}
    if emphasis is not None:
        for kind, layers in errors.items():
            parts |= {f"{kind}_{layer}": error for layer, error in layers.items()}
            errors[kind] = {layer: emphasis[kind][layer] * e for layer, e in layers.items()}
    content = _weighted_content(objective, errors["content"])
    style = weighted_style(objective, errors["style"], styles)
    total = content + style
    if objective.total_variation_weight is not None:
        total += objective.total_variation_weight * style_losses.total_variation(outputs)
    if objective.lattice_weight is not None:
        total += objective.lattice_weight * lattice.lattice(outputs)
    return total, {"content": content, "style": style, **parts}


def content_error(
    objective: Objective, features: Mapping[str, jax.Array], contents: Targets
) -> jax.Array:
    """The content's part of the loss, (N,), of `features` by layer."""
    return _weighted_content(objective, _content_errors(features, contents))


def _content_errors(features: Mapping[str, jax.Array], contents: Targets) -> dict[str, jax.Array]:
    return {
        layer: target["scale"] * style_losses.content_loss(features[layer], target["features"])
        for layer, target in contents.items()
    }


def _weighted_content(objective: Objective, errors: Mapping[str, jax.Array]) -> jax.Array:
    return objective.content_weight * style_losses.total_of(errors.values())


def style_errors(
    objective: Objective,
    features: Mapping[str, jax.Array],
    styles: Targets,
    key: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Each layer's style error, (N,), of `features` by layer, before all weights."""
    loss = objective.compared
    return {
        layer: loss.distance(
            loss.statistics(features[layer]),
            styles[layer]["statistics"],
            None if key is None else jax.random.fold_in(key, index),
        )
        for index, layer in enumerate(objective.style_layers)
    }


def weighted_style(
    objective: Objective, errors: Mapping[str, jax.Array], styles: Targets
) -> jax.Array:
    """The style's part of the loss, (N,), of `style_errors`."""
    return style_losses.total_of(
        objective.style_weight * styles[layer]["scale"] * error for layer, error in errors.items()
    )


def balance(
    objective: Objective,
    network: FeatureNetwork,
    images: jax.Array,
    contents: Targets,
    styles: Targets,
    key: jax.Array | None = None,
) -> jax.Array:
    """The style weight at which content and style pull on (N, H, W, 3) `images` equally: (N,).

    The norm of the content's gradient over that of the style's, the weights of `objective`
    included, with respect to the pixels (the beta of Li et al. 2017): a multiple gamma
    of it means the same for every style loss. Zero where an image has its content already.
    """

    def norm(part: str) -> jax.Array:
        def loss_fn(images: jax.Array) -> jax.Array:
            parts = perceptual_loss(objective, network, images, contents, styles, key)[1]
            return parts[part].sum()

        return jnp.sqrt(jnp.square(jax.grad(loss_fn)(images)).sum(axis=(1, 2, 3)))

    return norm("content") / jnp.maximum(norm("style"), fusion.TINY)
