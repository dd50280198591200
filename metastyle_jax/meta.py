"""MetaStyle's bilevel problem: styles are tasks, contents are the examples (Zhang et al. 2019).

    inner: adapt to one style on the support contents;  outer: loss of the result on query contents

S styles and B contents fold into one batch of S * B samples with one style per sample, so the
usual norm-only inner loop runs ordinary convolutions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

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
      style_warmup: outer steps over which the weight of the style rises from 0 to its full value.
        A network that first learns to keep the content does not fall into lattices and blobs.
      subset: what the inner loop moves: "norm", the style, or "all", every parameter.
      steps: T, inner steps.
      estimator: how inner gradients are differentiated, see `bilevel`.
      unroll: of the inner loop, see `bilevel.inner_loop`.
      dtype, rewrite: of the transformer, see `transformer.stylize`.
    """

    objective: objective.Objective
    subset: Subset = "norm"
    steps: int = 1
    estimator: bilevel.Estimator = bilevel.exact
    style_warmup: int = 0
    unroll: bool = False
    dtype: str | None = None
    rewrite: bool = True


Finish = Callable[[Any, Any, objective.Targets], Any]


def make_targets(
    problem: MetaProblem,
    feature_weights: Any,
    batch: Batch,
    style_factor: jax.Array | float = 1.0,
) -> dict[str, objective.Targets]:
    """Targets of "styles" (S, H, W, 3), "support" and "query" (B, H, W, 3), as constants.

    `style_factor` multiplies the weight of the style.
    """
    goal = problem.objective
    styles = objective.style_targets(goal, feature_weights, batch["styles"])
    targets = {
        "styles": {
            layer: {**target, "scale": target["scale"] * style_factor}
            for layer, target in styles.items()
        },
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
    style_factor: jax.Array | float = 1.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over styles of the query loss after the inner loop on the support contents.

    Returns:
      (scalar, metrics: scalars "outer_loss", "outer_content", "outer_style" after adaptation and
      "inner_loss_0" ... "inner_loss_{T-1}" on the support contents, "inner_gradient_norm").
    """
    support, query = _support_and_query(problem, batch, feature_weights, style_factor)

    def query_loss(weights: Any, style: Any, style_targets: objective.Targets):
        return stylization_loss(problem, weights, style, {**query, "style_targets": style_targets})

    (_, parts), inner = adapt_styles(problem, params, support, inner_optimizer, query_loss)
    metrics = {f"outer_{name}": part.mean() for name, part in parts.items()}
    for step in range(problem.steps):
        metrics[f"inner_loss_{step}"] = inner["loss"][step]
    if problem.steps:
        metrics["inner_gradient_norm"] = inner["gradient_norm"][0]
    return parts["loss"].mean(), metrics


def preview(
    problem: MetaProblem,
    params: transformer.Params,
    batch: Batch,
    feature_weights: Any,
    inner_optimizer: optax.GradientTransformation,
) -> tuple[jax.Array, jax.Array]:
    """The first query content in each style before and after the inner loop: (S, H, W, 3) twice."""
    support, _ = _support_and_query(problem, batch, feature_weights)
    content = batch["query"][:1]
    stylize = functools.partial(transformer.stylize, dtype=problem.dtype, rewrite=problem.rewrite)

    def outputs(weights: Any, style: Any, style_targets: objective.Targets) -> jax.Array:
        del style_targets
        count = jax.tree.leaves(style)[0].shape[0]
        contents = objective.tile_contents(content, count)
        return stylize(weights, style, contents)

    before = stylize(params["weights"], params["style"], content)
    problem = dataclasses.replace(problem, estimator=bilevel.first_order)
    after, _ = adapt_styles(problem, params, support, inner_optimizer, outputs)
    return jnp.broadcast_to(before, after.shape), after


def _support_and_query(
    problem: MetaProblem,
    batch: Batch,
    feature_weights: Any,
    style_factor: jax.Array | float = 1.0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    targets = make_targets(problem, feature_weights, batch, style_factor)
    return tuple(
        {
            "contents": batch[name],
            "content_targets": targets[name],
            "style_targets": targets["styles"],
            "feature_weights": feature_weights,
        }
        for name in ("support", "query")
    )


def adapt_styles(
    problem: MetaProblem,
    params: transformer.Params,
    support: Mapping[str, Any],
    inner_optimizer: optax.GradientTransformation,
    finish: Finish,
) -> tuple[Any, dict[str, jax.Array]]:
    """Run the inner loop for every style and hand what it reached to `finish`.

    Args:
      problem: static description.
      params: where every style starts.
      support: data of `stylization_loss` with S styles.
      inner_optimizer: of the inner loop.
      finish: (weights, style with leaves (S', C), targets of these S' styles) -> result; called
        once with all styles (subset "norm") or with one style at a time ("all").

    Returns:
      (result of `finish`, its leaves of all styles along the first axis, {"loss": (T,),
      "gradient_norm": (T,)}, means over styles).
    """
    run = _adapt_norm if problem.subset == "norm" else _adapt_all
    return run(problem, params, support, inner_optimizer, finish)


def _adapt_norm(problem, params, support, inner_optimizer, finish):
    """All styles at once: their parameters are the rows of one (S, C) style."""
    count = jax.tree.leaves(support["style_targets"])[0].shape[0]
    style = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), params["style"])

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
        unroll=problem.unroll,
    )
    means = {"loss": inner["loss"] / count, "gradient_norm": inner["gradient_norm"] / count**0.5}
    return finish(params["weights"], style, support["style_targets"]), means


def _adapt_all(problem, params, support, inner_optimizer, finish):
    """One style after the other: a kernel per style would turn into grouped convolutions."""

    def loss_fn(fast, slow, data):
        del slow
        style = jax.tree.map(lambda x: x[None], fast["style"])
        return stylization_loss(problem, fast["weights"], style, data)

    def adapt_one(style_targets):
        fast, inner = bilevel.inner_loop(
            loss_fn,
            params,
            {},
            {**support, "style_targets": style_targets},
            optimizer=inner_optimizer,
            steps=problem.steps,
            estimator=problem.estimator,
            unroll=problem.unroll,
        )
        style = jax.tree.map(lambda x: x[None], fast["style"])
        return finish(fast["weights"], style, style_targets), inner

    one_each = jax.tree.map(lambda x: x[:, None], support["style_targets"])
    if problem.unroll:
        count = jax.tree.leaves(one_each)[0].shape[0]
        each = [adapt_one(jax.tree.map(lambda x: x[i], one_each)) for i in range(count)]  # noqa: B023
        result, inner = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    else:
        result, inner = jax.lax.map(adapt_one, one_each)
    # (S, 1, ...) to (S, ...); scalars are one per style
    result = jax.tree.map(lambda x: x[:, 0] if x.ndim > 1 else x, result)
    return result, {name: inner[name].mean(axis=0) for name in ("loss", "gradient_norm")}
