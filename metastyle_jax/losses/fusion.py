"""Losses made of losses, weighted fusions and relative losses, and the names of all."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from metastyle_jax.losses import style_losses
from metastyle_jax.losses.style_losses import StyleLoss

# keeps a relative loss finite where a target is all zeros (a dead layer, a black picture)
TINY = 1e-8


@functools.cache
def fuse(*parts: tuple[float, StyleLoss]) -> StyleLoss:
    """The weighted sum of several losses (Li et al. 2017): `fuse((0.3, bn), ...)`.

    Raises:
      ValueError: no part, or a weight that is not positive.
    """
    if not parts or not min(weight for weight, _ in parts) > 0:
        raise ValueError("a fusion needs losses with positive weights")

    def distance(x: Any, target: Any, key: jax.Array | None = None) -> jax.Array:
        distances = []
        for index, (weight, loss) in enumerate(parts):
            part_key = None if key is None else jax.random.fold_in(key, index)
            distances.append(weight * loss.distance(x[index], target[index], part_key))
        return style_losses.total_of(distances)

    return StyleLoss(
        name=" + ".join(f"{weight}*{loss.name}" for weight, loss in parts),
        statistics=lambda features: tuple(loss.statistics(features) for _, loss in parts),
        distance=distance,
        magnitude=lambda statistics: style_losses.total_of(
            weight * loss.magnitude(part)
            for (weight, loss), part in zip(parts, statistics, strict=True)
        ),
        target=lambda statistics: tuple(
            loss.target(part) for (_, loss), part in zip(parts, statistics, strict=True)
        ),
        random=any(loss.random for _, loss in parts),
        parts=parts,
    )


@functools.cache
def relative(loss: StyleLoss) -> StyleLoss:
    """`loss` divided by the magnitude of the style, for a fusion each part by its own."""
    if loss.parts:
        return fuse(*((weight, relative(part)) for weight, part in loss.parts))

    def distance(x: Any, target: Any, key: jax.Array | None = None) -> jax.Array:
        statistics, scale = target
        return loss.distance(x, statistics, key) * scale

    def target(statistics: Any) -> tuple[Any, jax.Array]:
        return loss.target(statistics), 1 / jnp.maximum(loss.magnitude(statistics), TINY)

    return loss._replace(distance=distance, target=target)


# name -> (numbers in brackets) -> loss
NAMED: Mapping[str, Callable[..., StyleLoss]] = {
    "gram": lambda: style_losses.gram,
    "linear": lambda: style_losses.linear,
    "poly": style_losses.poly,
    "gaussian": style_losses.gaussian,
    "bn": lambda: style_losses.bn,
    "sliced_wasserstein": style_losses.sliced_wasserstein,
}

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TERM = re.compile(rf"(?:({_NUMBER})\s*\*\s*)?([a-z_]+)\s*(?:\(([^()]*)\))?")


def parse(text: str) -> StyleLoss:
    """The style loss that a line describes.

    "gram", "poly(1)" (its constant), "gaussian(0.5, 1, 2)" (bandwidth factors),
    "sliced_wasserstein(64)" (directions), "bn", "linear"; fusions as "0.3*linear + 0.7*gaussian".

    Raises:
      ValueError: a loss is unknown (the known ones are listed), or a number cannot be used.
    """
    terms = [_parse_term(term.strip(), text) for term in re.split(r"(?<!\d[eE])\+", text)]
    if len(terms) == 1 and terms[0][0] == 1:
        return terms[0][1]
    return fuse(*terms)


def _parse_term(term: str, text: str) -> tuple[float, StyleLoss]:
    match = _TERM.fullmatch(term)
    if not match or match[2] not in NAMED:
        cause = f"the loss {match[2]!r} is unknown" if match else f"{text!r} is no loss"
        raise ValueError(
            f"{cause}: use one of {', '.join(NAMED)}, or a sum such as 0.3*linear+0.7*gaussian(0.5)"
        )
    weight = float(match[1] or 1)
    if not 0 < weight < math.inf:
        raise ValueError(f"the weight of {match[2]} in {text!r} is {weight:g}: use positive ones")
    try:
        numbers = [float(number) for number in match[3].split(",")] if match[3] else []
        return weight, NAMED[match[2]](*numbers)
    except TypeError:
        raise ValueError(f"{match[2]} in {text!r} takes fewer numbers in brackets") from None
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(f"{match[3]!r} in {text!r} should be numbers with commas") from None
