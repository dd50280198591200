"""MetaStyle's bilevel problem: styles are tasks, contents are the examples (Zhang et al. 2019).

    inner: adapt to one style on the support contents;  outer: loss of the result on query contents

S styles and B contents fold into one batch of S * B samples with one style per sample, so the
usual norm-only inner loop runs ordinary convolutions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax import bilevel, objective, transformer

Batch = Mapping[str, jax.Array]
Subset = Literal["norm", "all"]


@dataclasses.dataclass(frozen=True)
class MetaProblem:
    """Static description of the bilevel problem; hashable.

    Attributes:
      objective: of both levels.
      subset: what the inner loop moves: "norm", the style, or "all", every parameter.
      steps: T, inner steps.
      estimator: how inner gradients are differentiated, see `bilevel`.
      dtype, rewrite: of the transformer, see `transformer.stylize`.
    """

    objective: objective.Objective
    subset: Subset = "norm"
    steps: int = 1
    estimator: bilevel.Estimator = bilevel.exact
    dtype: str | None = None
    rewrite: bool = True


@flax.struct.dataclass
class TrainState:
    """Everything that training carries from step to step.

    Attributes:
      step: () int32, outer steps taken.
      params: `{"weights": ..., "style": ...}`.
      opt_state: of the outer optimizer.
    """

    step: jax.Array
    params: transformer.Params
    opt_state: Any


def make_targets(
    problem: MetaProblem, feature_weights: Any, batch: Batch
) -> dict[str, objective.Targets]:
    """Targets of "styles" (S, H, W, 3), "support" and "query" (B, H, W, 3), as constants."""
    goal = problem.objective
    targets = {
        "styles": objective.style_targets(goal, feature_weights, batch["styles"]),
        "support": objective.content_targets(goal, feature_weights, batch["support"]),
        "query": objective.content_targets(goal, feature_weights, batch["query"]),
    }
    return jax.lax.stop_gradient(targets)


def stylization_loss(
    problem: MetaProblem, weights: Any, style: Any, data: Mapping[str, Any]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sum over styles of the mean loss over contents; each style's gradient is thus its own.

    Args:
      problem: static description.
      weights: of the transformer.
      style: leaves (S, C).
      data: {"contents": (B, H, W, 3), "content_targets", "style_targets", "feature_weights"}.

    Returns:
      (scalar, {"loss", "content", "style"} each (S,), the mean over contents).
    """
    contents = data["contents"]
    s, b = jax.tree.leaves(style)[0].shape[0], contents.shape[0]
    outputs = transformer.stylize(
        weights,
        transformer.repeat_style(style, b),
        objective.tile_contents(contents, s),
        dtype=problem.dtype,
        rewrite=problem.rewrite,
    )
    targets = objective.fold_targets(data["content_targets"], data["style_targets"], (s, b))
    total, parts = objective.perceptual_loss(
        problem.objective, data["feature_weights"], outputs, *targets
    )
    parts = {"loss": total, **parts}
    parts = {name: part.reshape(s, b).mean(axis=1) for name, part in parts.items()}
    return parts["loss"].sum(), parts


def meta_loss(
    problem: MetaProblem,
    params: transformer.Params,
    batch: Batch,
    feature_weights: Any,
    inner_optimizer: optax.GradientTransformation,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over styles of the query loss after the inner loop on the support contents.

    Returns:
      (scalar, metrics: scalars "outer_loss", "outer_content", "outer_style" after adaptation and
      "inner_loss_0" ... "inner_loss_{T-1}" on the support contents, "inner_gradient_norm").
    """
    targets = make_targets(problem, feature_weights, batch)
    support = {
        "contents": batch["support"],
        "content_targets": targets["support"],
        "style_targets": targets["styles"],
        "feature_weights": feature_weights,
    }
    query = {**support, "contents": batch["query"], "content_targets": targets["query"]}
    adapt = _adapt_norm if problem.subset == "norm" else _adapt_all
    parts, inner = adapt(problem, params, support, query, inner_optimizer)
    metrics = {f"outer_{name}": part.mean() for name, part in parts.items()}
    for step in range(problem.steps):
        metrics[f"inner_loss_{step}"] = inner["loss"][step]
    if problem.steps:
        metrics["inner_gradient_norm"] = inner["gradient_norm"][0]
    return parts["loss"].mean(), metrics


def _adapt_norm(problem, params, support, query, inner_optimizer):
    """All styles at once: their parameters are rows of one (S, C) style."""
    s = jax.tree.leaves(support["style_targets"])[0].shape[0]
    style = jax.tree.map(lambda x: jnp.broadcast_to(x, (s, *x.shape)), params["style"])

    def loss_fn(fast, slow, data):
        return stylization_loss(problem, slow, fast, data)

    style, inner = bilevel.inner_loop(
        loss_fn,
        style,
        params["weights"],
        support,
        optimizer=inner_optimizer,
        steps=problem.steps,
        estimator=problem.estimator,
    )
    _, parts = stylization_loss(problem, params["weights"], style, query)
    return parts, {"loss": inner["loss"] / s, "gradient_norm": inner["gradient_norm"] / s**0.5}


def _adapt_all(problem, params, support, query, inner_optimizer):
    """One style after the other: a kernel per style would turn into grouped convolutions."""

    def loss_fn(fast, slow, data):
        del slow
        style = jax.tree.map(lambda x: x[None], fast["style"])
        return stylization_loss(problem, fast["weights"], style, data)

    def adapt_one(style_target):
        one = jax.tree.map(lambda x: x[None], style_target)
        fast, inner = bilevel.inner_loop(
            loss_fn,
            params,
            {},
            {**support, "style_targets": one},
            optimizer=inner_optimizer,
            steps=problem.steps,
            estimator=problem.estimator,
        )
        _, parts = loss_fn(fast, {}, {**query, "style_targets": one})
        return {name: part[0] for name, part in parts.items()}, inner

    parts, inner = jax.lax.map(adapt_one, support["style_targets"])
    return parts, {name: inner[name].mean(axis=0) for name in ("loss", "gradient_norm")}
