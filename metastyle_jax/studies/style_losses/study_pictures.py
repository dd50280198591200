"""Pictures of the study, made by pixel optimization and kept as files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metastyle_jax.data.images import write_png
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.pixels import image_optimization
from metastyle_jax.reporting.records import Row
from metastyle_jax.runtime import compilation

JUDGMENTS = 16  # random draws that the mean of a random loss is over


class PictureSetup(NamedTuple):
    """Inputs that all pictures of a study share.

    Attributes:
      objective: with weights 1, relative losses; its style loss is replaced by that of a method.
      network: the feature network.
      contents, styles: pairs, (N, size, size, 3) in [0, 1] each.
      steps, learning_rate: of Adam.
      folder: of the pictures.
    """

    objective: perceptual.Objective
    network: FeatureNetwork
    contents: np.ndarray
    styles: np.ndarray
    steps: int
    learning_rate: float
    folder: Path


def objective_with(setup: PictureSetup, method: str) -> perceptual.Objective:
    """The objective with the style loss that `fusion.parse` reads from `method`."""
    return dataclasses.replace(setup.objective, style_loss=fusion.parse(method))


def balance(setup: PictureSetup, method: str) -> np.ndarray:
    """`image_optimization.balance` of every pair, (N,)."""
    objective = objective_with(setup, method)
    targets = image_optimization.make_targets(
        objective, setup.network, setup.contents, setup.styles
    )
    return image_optimization.balance(objective, setup.network, setup.contents, targets)


def optimize_pictures(
    setup: PictureSetup,
    method: str,
    names: Sequence[str],
    *,
    pairs: Sequence[int],
    start: np.ndarray,
    contents: np.ndarray | float,
    styles: Mapping[str, Any] | np.ndarray,
) -> list[Row]:
    """Optimize K pictures in one program and write `folder`/NAME.png of each.

    Args:
      setup: what the study shares.
      method: the style loss.
      names: K.
      pairs: which content and style, K numbers.
      start: (K, size, size, 3) in [0, 1].
      contents, styles: weights, see `image_optimization.weigh`.

    Returns:
      A row for each picture: "method", "name", "content" and "style", the
      parts of the loss before the last step, "seconds" of all steps but the first.
    """
    objective = objective_with(setup, method)
    targets = image_optimization.make_targets(
        objective, setup.network, setup.contents[list(pairs)], setup.styles[list(pairs)]
    )
    targets = image_optimization.weigh(targets, contents=contents, styles=styles)
    settings = image_optimization.OptimizationSettings(
        objective, steps=setup.steps, learning_rate=setup.learning_rate
    )
    last: dict[str, Any] = {}
    state = image_optimization.optimize(
        image_optimization.start(start, settings),
        targets,
        setup.network,
        settings,
        on_call=lambda state, metrics, seconds: last.update(metrics, seconds=seconds),
    )
    rows = []
    for k, name in enumerate(names):
        write_png(setup.folder / f"{name}.png", np.asarray(state.images[k]))
        losses = {part: float(last[part][k]) for part in ("content", "style")}
        rows.append({"method": method, "name": name, **losses, "seconds": last["seconds"]})
    return rows


def relative_style_loss(setup: PictureSetup, method: str, images: np.ndarray) -> float:
    """Style loss of `images`, one of each pair, over that of the contents unchanged: mean of pairs.

    0 for the distribution of the style, 1 for a picture left as it was.
    """
    objective = objective_with(setup, method)
    targets = image_optimization.make_targets(
        objective, setup.network, setup.contents, setup.styles
    )
    draws = range(JUDGMENTS if objective.style_loss.random else 1)

    def loss(x: np.ndarray) -> np.ndarray:
        each = [
            _style_loss(x, targets, setup.network, np.int32(d), objective=objective) for d in draws
        ]
        return np.mean(each, axis=0)

    return float(np.mean(loss(images) / loss(setup.contents)))


@compilation.jit
def _style_loss(
    images: jax.Array,
    targets: image_optimization.Targets,
    network: FeatureNetwork,
    seed: jax.Array,
    *,
    objective: perceptual.Objective,
) -> jax.Array:
    key = jax.random.key(seed)
    return perceptual.perceptual_loss(objective, network, images, *targets, key)[1]["style"]
