"""Sliders: the weights of the style layers, chosen when a picture is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.networks import adjuster
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import ranges

SETTING = "alpha"  # the weights that a style was made with, among the settings of its record
DEFAULT = 1.0  # of a layer that nobody names: its weight in a plain objective


def parse(name: str, text: str) -> dict[str, float]:
    """{"relu2_2": 1.0, "relu3_3": 0.2} for "relu2_2:1,relu3_3:0.2".

    Args:
      name: of the flag or field, for messages.
      text: what was given.

    Raises:
      UserError: it is of another form, a weight is outside [0, 1], or a layer is named twice.
    """
    alpha: dict[str, float] = {}
    for part in text.split(","):
        layer, _, value = (word.strip() for word in part.partition(":"))
        try:
            weight = float(value)
        except ValueError:
            raise UserError(
                f"{name}={text}: {part!r} is not LAYER:WEIGHT, as in relu2_2:1,relu3_3:0.2"
            ) from None
        if layer in alpha:
            raise UserError(f"{name}={text} names {layer} twice: give each layer one weight")
        ranges.FRACTION.check(f"{name}={text}: the weight of {layer}", weight)
        alpha[layer] = weight
    return alpha


@dataclasses.dataclass(frozen=True, eq=False)
class Sliders:
    """What turns the weights of the style layers into a style.

    Attributes:
      adjuster: see `adjuster.init`.
      style: what it moves, leaves (C,).
      layers: the L style layers of the training, in its order.
    """

    adjuster: adjuster.Params
    style: Any
    layers: tuple[str, ...]

    def weights(self, alpha: Mapping[str, float], name: str) -> dict[str, float]:
        """The weight of every layer; `DEFAULT` for one that `alpha` does not name.

        Args:
          alpha: weights in [0, 1] by layer.
          name: of the stylizer, for messages.

        Raises:
          UserError: a layer is none of the training's, or a weight is outside [0, 1].
        """
        for layer, value in alpha.items():
            if layer not in self.layers:
                raise UserError(
                    f"{name or 'this stylizer'} has no weight for {layer}: it was trained with "
                    f"those of {', '.join(self.layers)}"
                )
            if not 0 <= value <= 1:
                raise UserError(f"the weight of {layer} must be between 0 and 1, got {value}")
        return {layer: float(alpha.get(layer, DEFAULT)) for layer in self.layers}

    @property
    def params(self) -> dict[str, Any]:
        """`{"adjuster": ..., "style": ...}`."""
        return {"adjuster": self.adjuster, "style": self.style}

    @property
    def highest(self) -> Any:
        """The style with every weight at `DEFAULT`."""
        return self.style_at(dict.fromkeys(self.layers, DEFAULT))

    def style_at(self, weights: Mapping[str, float]) -> Any:
        """The style at a weight for every layer, leaves (C,); one program for all weights."""
        alpha = np.array([[weights[layer] for layer in self.layers]], np.float32)
        return _adjust(self.adjuster, alpha, dict(self.style))


def recorded(
    moves: adjuster.Params | None, style: Any, settings: Mapping[str, Any], name: str
) -> Sliders | None:
    """The sliders of a file or a training; None if it has none.

    Args:
      moves: its adjuster, if it has one.
      style: what that moves, leaves (C,).
      settings: by dotted name; they have the style layers.
      name: for messages.

    Raises:
      UserError: the settings do not say which layers the sliders are of.
    """
    if moves is None:
        return None
    layers = tuple(settings.get("objective.style_layers", ()))
    if len(layers) != adjuster.inputs(moves):
        raise UserError(
            f"{name} has weights for {adjuster.inputs(moves)} style layers, but its settings name "
            f"{len(layers)}: export it from its training again"
        )
    return Sliders(jax.tree.map(jnp.asarray, moves), jax.tree.map(jnp.asarray, style), layers)


@compilation.jit
def _adjust(params: adjuster.Params, alpha: jax.Array, style: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], adjuster.adjust(params, alpha, style))
