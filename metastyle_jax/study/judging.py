"""A judge of stylised pictures: losses under its own features, LPIPS, SSIM, CFSD, lattices."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import adaptation, compilation, feature_weights, objective, vgg
from metastyle_jax.evaluation import lattice, lpips, similarity

CHUNK = 4  # pictures judged at once
ABSENT = float("nan")


class Judge(NamedTuple):
    """Who judges.

    Attributes:
      goal: losses and their weights; relative losses compare best over styles.
      features: weights of its feature network.
      lpips: weights of LPIPS; None where no files were given.
    """

    goal: objective.Objective
    features: Any
    lpips: lpips.Weights | None


def relative_objective(network: str, style_weight: float) -> tuple[objective.Objective, Any]:
    """The usual layers of a feature network, as far as it reaches, with relative losses.

    Args:
      network: see `feature_weights.load`.
      style_weight: against a content weight of 1.

    Returns:
      (objective, weights of the feature network).

    Raises:
      UserError: the network cannot be loaded.
    """
    architecture = network.partition(":")[0]
    goal = objective.Objective(
        architecture=architecture,
        pooling=vgg.POOLING.get(architecture, "max"),
        style_layers=feature_weights.usable_layers(network, objective.Objective.style_layers),
        style_weight=style_weight,
        normalize=True,
    )
    _, weights = feature_weights.load(network, goal.layers)
    return goal, jax.tree.map(jnp.asarray, weights)


def judge(
    by: Judge, outputs: np.ndarray, contents: np.ndarray, style: np.ndarray
) -> dict[str, float]:
    """Means over pictures.

    Args:
      by: see `Judge`.
      outputs, contents: (N, H, W, 3) in [0, 1].
      style: (h, w, 3) in [0, 1].

    Returns:
      "loss", "content", "style", one "style LAYER" for each layer, weights included; "lpips",
      "ssim" and "cfsd" of outputs against contents, "lattice" of the outputs; NaN for "lpips"
      without its files.
    """
    targets = adaptation.make_style_targets(style, by.features, goal=by.goal)
    rows: list[Mapping[str, np.ndarray]] = []
    for begin in range(0, len(outputs), CHUNK):
        ours, wanted = outputs[begin : begin + CHUNK], contents[begin : begin + CHUNK]
        row = dict(_judge(ours, wanted, targets, by.features, goal=by.goal))
        row["lattice"] = lattice.lattice(ours)
        row["lpips"] = lpips.distance(by.lpips, ours, wanted) if by.lpips else [ABSENT] * len(ours)
        rows.append(row)
    return {name: float(np.mean(np.concatenate([row[name] for row in rows]))) for name in rows[0]}


@functools.partial(compilation.jit, static_argnames="goal")
def _judge(
    outputs: jax.Array,
    contents: jax.Array,
    style_targets: objective.Targets,
    features: Any,
    *,
    goal: objective.Objective,
) -> dict[str, jax.Array]:
    """Each (N,)."""
    styles = jax.tree.map(lambda x: jnp.repeat(x, len(outputs), axis=0), style_targets)
    seen, wanted = (goal.extract(features, x, goal.layers) for x in (outputs, contents))
    content_targets = objective.content_targets(goal, features, contents)
    content = objective.content_error(goal, seen, content_targets)
    shares = objective.style_errors(goal, seen, styles, jax.random.key(0))
    style = sum(shares.values())
    deepest = max(goal.layers)
    return {
        "loss": content + style,
        "content": content,
        "style": style,
        **{f"style {layer}": share for layer, share in shares.items()},
        "ssim": similarity.ssim(outputs, contents),
        "cfsd": similarity.cfsd(wanted[deepest], seen[deepest]),
    }
