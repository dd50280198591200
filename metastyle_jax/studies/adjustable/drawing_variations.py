"""Ways to vary a drawing that are compared: ours, and the baselines of the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax

from metastyle_jax.networks import style_noise
from metastyle_jax.stylization import variations
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import DEFAULT, Stylizer

WHEN_DRAWING = "parameter noise"
IN_TRAINING = "noisy training"  # and noise when drawing
BASELINES = (WHEN_DRAWING, IN_TRAINING)
PLAIN = "no variation"

Drawing = tuple[Stylizer, Options]


class Method(NamedTuple):
    """A way to vary a drawing.

    Attributes:
      name: in tables.
      drawings: one for each variation.
      baseline: one of `BASELINES`; "" for ours. The methods of a baseline stand in the
        order of their deviations, from 0 on.
    """

    name: str
    drawings: Sequence[Drawing]
    baseline: str = ""


def ours(stylizer: Stylizer, count: int, seed: int) -> list[Method]:
    """Random weights of the style layers, content noise, both; without sliders content noise alone.

    Content noise alone leaves all weights at 1.
    """
    layers = stylizer.sliders.layers if stylizer.sliders else ()
    cases = {
        "random weights": (False, {}),
        "content noise": (True, dict.fromkeys(layers, 1.0)),
        "both": (True, {}),
    }
    methods = []
    for name, (content_noise, alpha) in cases.items():
        if layers or name == "content noise":
            drawn = variations.draw(
                stylizer, count, seed=seed, content_noise=content_noise, alpha=alpha
            )
            drawings = [(each.applied(stylizer), Options(spots=each.spots)) for each in drawn]
            methods.append(Method(name, drawings))
    return methods


def baseline(
    name: str, stylizer: Stylizer, deviations: Sequence[float], count: int, seed: int
) -> list[Method]:
    """Noise on the parameters of a style; first the drawing without noise, which does not vary.

    Args:
      name: of the baseline.
      stylizer: whose style gets noise; sliders stand at 1.
      deviations: standard deviations, more than 0.
      count: variations.
      seed: of the noise, together with the number of each variation.
    """
    key = jax.random.key(seed)

    def noisy(number: int, deviation: float) -> Stylizer:
        style = style_noise.add_noise(jax.random.fold_in(key, number), stylizer.style, deviation)
        return dataclasses.replace(stylizer, style=style, sliders=None)

    return [
        Method(PLAIN if name == WHEN_DRAWING else f"{name}, 0", [(stylizer, DEFAULT)], name),
        *(
            Method(
                f"{name}, {deviation:g}",
                [(noisy(number, deviation), DEFAULT) for number in range(1, count + 1)],
                name,
            )
            for deviation in sorted(set(deviations))
        ),
    ]
