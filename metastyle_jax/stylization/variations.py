"""Random variations of a stylization (Babaeizadeh & Ghiasi 2020, figures 5, 8 and 10).

Two things vary: the weights of the style layers, for a network with sliders; and the content, by
dark spots that only the network sees. Each variation has a number, and is a function of the seed
and of its number alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.stylization import dark_spots
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer

MOST = 999  # variations; a number has three digits in the names of files
DECIMALS = 3  # of drawn weights, so that what is printed says all
_ALPHA, _SPOTS = range(2)  # what random numbers are drawn for


@dataclasses.dataclass(frozen=True)
class Variation:
    """A random variation.

    Attributes:
      number: 1 and up.
      alpha: weight of every style layer, 0 to 1; empty for a style without sliders.
      spots: on the content, see `dark_spots`; empty without content noise.
    """

    number: int
    alpha: dict[str, float]
    spots: tuple[dark_spots.Spot, ...]

    @property
    def suffix(self) -> str:
        """What the names of its files end in."""
        return f"_v{self.number:03d}"

    def __str__(self) -> str:
        """One line; the weights are written as `--alpha` takes them."""
        parts = [",".join(f"{layer}:{weight:g}" for layer, weight in self.alpha.items())]
        if self.spots:
            parts.append(f"{len(self.spots)} dark spot{'s' if len(self.spots) > 1 else ''}")
        return f"variation {self.number}: {', '.join(filter(None, parts))}"

    def applied(self, stylizer: Stylizer) -> Stylizer:
        """The stylizer at the weights of this variation.

        Raises:
          UserError: it has no such weights.
        """
        return stylizer.at(self.alpha) if self.alpha else stylizer


def draw(
    stylizer: Stylizer,
    count: int,
    *,
    seed: int = 0,
    content_noise: bool = False,
    alpha: Mapping[str, float] | None = None,
) -> list[Variation]:
    """Draw variations 1 to `count`; the weights are uniform in [0, 1], to three decimals.

    Args:
      stylizer: whose style layers get weights, if it has sliders.
      count: 1 to `MOST`. A larger one draws the same first ones.
      seed: 0 or more.
      content_noise: whether dark spots are drawn, too.
      alpha: weights that are not drawn, by layer.

    Raises:
      UserError: a number is out of its range, or nothing is left to draw.
    """
    ranges.Range(1, MOST).check("the number of variations", count)
    ranges.count(0).check("the seed", seed)
    layers = stylizer.sliders.layers if stylizer.sliders else ()
    kept = dict(alpha or {})
    if not content_noise:
        _check_layers(layers, kept, stylizer.record.name or "this stylizer")
    return [
        Variation(
            number,
            {**_draw_weights(layers, seed, number), **kept},
            dark_spots.draw_spots(_random(seed, number, _SPOTS)) if content_noise else (),
        )
        for number in range(1, count + 1)
    ]


def variations(
    stylizer: Stylizer,
    picture: Any,
    count: int,
    *,
    seed: int = 0,
    content_noise: bool = False,
    alpha: Mapping[str, float] | None = None,
) -> list[tuple[Any, dict[str, float]]]:
    """Stylize a picture in random variations.

    Args:
      stylizer: with sliders, unless there is content noise.
      picture: see `Stylizer.__call__`.
      count, seed, content_noise, alpha: see `draw`.

    Returns:
      `count` pairs: what the stylizer makes of the picture, and the weight of each style layer;
      no weights for a stylizer without sliders.

    Raises:
      TypeError, ValueError: see `Stylizer.__call__`.
      UserError: see `draw`; or alpha does not suit the stylizer.
    """
    drawn = draw(stylizer, count, seed=seed, content_noise=content_noise, alpha=alpha)
    return [
        (each.applied(stylizer).apply(picture, Options(spots=each.spots)), each.alpha)
        for each in drawn
    ]


def _check_layers(layers: Sequence[str], kept: Mapping[str, float], name: str) -> None:
    remedy = "add --content-noise (content_noise=True)"
    if not layers:
        raise UserError(f"{name} has no weights of style layers that could be drawn: {remedy}")
    if not set(layers) - set(kept):
        raise UserError(
            f"alpha names all style layers of {name}, so that none is left to draw: leave one out, "
            f"or {remedy}"
        )


def _draw_weights(layers: Sequence[str], seed: int, number: int) -> dict[str, float]:
    values = _random(seed, number, _ALPHA).random(len(layers)).round(DECIMALS)
    return {layer: float(value) for layer, value in zip(layers, values, strict=True)}


def _random(seed: int, number: int, purpose: int) -> np.random.Generator:
    """Random numbers for one purpose, independent of those for others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, purpose)))
