"""Styles as tasks: the loss of one style on a few contents, and the inner loop of several styles.

S styles and B contents fold into one batch of S * B samples with one style per sample, so the usual
norm-only inner loop runs ordinary convolutions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metastyle_jax import bilevel
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import subsets
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class MetaProblem:
    """Static description of the bilevel problem; hashable.

    Attributes:
      objective: of both levels.
      style_warmup: outer steps over which the weight of the style rises from 0 to its full value.
        A network that first learns to keep the content does not fall into lattices and blobs.
      subset: what the inner loop moves: "norm", the style; "all"; or patterns, see `subsets.split`.
      steps: T, inner steps.
      random_steps: take 1 to T steps, drawn anew for every outer step (from `seed`).
      multi_step: outer steps over which the outer loss goes over from the mean of the query losses
        after each inner step to that after the last (MAML++, Antoniou et al. 2019, section 4); 0
        for the last alone.
      estimator: how inner gradients are differentiated, see `bilevel`.
      unroll: of the inner loop, see `bilevel.inner_loop`.
      noise: deviation of that on the contents that are drawn, see `input_noise.add_noise`.
      dtype, rewrite: of the transformer, see `stylization_network.stylize`.
    """

    objective: perceptual.Objective
    subset: str = "norm"
    steps: int = 1
    random_steps: bool = False
    multi_step: int = 0
    seed: int = 0
    estimator: bilevel.Estimator = bilevel.exact
    style_warmup: int = 0
    unroll: bool = False
    noise: float = 0.0
    dtype: str | None = None
    rewrite: bool = True


Finish = Callable[[Any, Any, perceptual.Targets], Any]


def make_targets(
    problem: MetaProblem,
    network: FeatureNetwork,
    batch: Batch,
    style_factor: jax.Array | float = 1.0,
) -> dict[str, perceptual.Targets]:
    """Targets of "styles" (S, H, W, 3), "support" and "query" (B, H, W, 3), as constants.

    `style_factor` multiplies the weight of the style.
    """
    objective = problem.objective
    styles = perceptual.style_targets(objective, network, batch["styles"])
    targets = {
        "styles": {
            layer: {**target, "scale": target["scale"] * style_factor}
            for layer, target in styles.items()
        },
        "support": perceptual.content_targets(objective, network, batch["support"]),
        "query": perceptual.content_targets(objective, network, batch["query"]),
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
      data: {"contents": (B, H, W, 3), "content_targets", "style_targets",
        "feature_network"}, and "key" for a style loss that is random.

    Returns:
      (scalar, {"loss", "content", "style"} each (S,), the mean over contents).
    """
    contents = data["contents"]
    s, b = jax.tree.leaves(style)[0].shape[0], contents.shape[0]
    outputs = stylization_network.stylize(
        weights,
        stylization_network.repeat_style(style, b),
        perceptual.tile_contents(contents, s),
        dtype=problem.dtype,
        rewrite=problem.rewrite,
    )
    targets = perceptual.fold_targets(data["content_targets"], data["style_targets"], (s, b))
    total, parts = perceptual.perceptual_loss(
        problem.objective, data["feature_network"], outputs, *targets, data.get("key")
    )
    parts = {"loss": total, **parts}
    parts = {name: part.reshape(s, b).mean(axis=1) for name, part in parts.items()}
    return parts["loss"].sum(), parts


def inner_loss(
    problem: MetaProblem, fast: Any, slow: Any, data: Mapping[str, Any]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What the inner loop minimises: `stylization_loss` of parameters that `subsets.split` parted.

    Leaves of the style are (C,), shared by all styles of `data`, or (S, C).
    """
    return stylization_loss(problem, *_join(fast, slow, data["style_targets"]), data)


def adapt_styles(
    problem: MetaProblem,
    params: stylization_network.Params,
    support: Mapping[str, Any],
    inner_optimizer: optax.GradientTransformation,
    finish: Finish,
    *,
    start: Any = None,
    taken: jax.Array | None = None,
    step_weights: jax.Array | None = None,
) -> tuple[Any, dict[str, jax.Array]]:
    """Run the inner loop for every style and hand what it reached to `finish`.

    Args:
      problem: static description.
      params: where every style starts.
      support: data of `stylization_loss` with S styles.
      inner_optimizer: of the inner loop.
      finish: (weights, style with leaves (S', C), targets of these S' styles) -> result; called
        once with all styles if nothing but the style moves, else with one style at a time.
      start: styles to start from instead, leaves (S, C); with the subset "norm" only.
      taken: () int32, how many steps are taken; None for all.
      step_weights: (T,); if given, the result is a dict and gets "weighted", the sum over inner
        steps of the "loss" that `finish` finds after each.

    Returns:
      (result of `finish`, its leaves of all styles along the first axis, {"loss": (T,),
      "gradient_norm": (T,)}, means over styles).
    """
    fast, slow = subsets.split(params, problem.subset)
    tasks = jax.tree.leaves(support["style_targets"])[0].shape[0]
    run = functools.partial(
        _adapt,
        problem,
        inner_optimizer=inner_optimizer,
        finish=finish,
        tasks=tasks,
        taken=taken,
        step_weights=step_weights,
    )
    if subsets.folds(problem.subset):
        # all styles at once: their parameters are the rows of one (S, C) style
        if start is None:
            fast = jax.tree.map(lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), fast)
        else:
            fast = {"style": start}
        result, inner = run(fast, slow, support)
        loss, norm = inner["loss"] / tasks, inner["gradient_norm"] / tasks**0.5
        return result, {"loss": loss, "gradient_norm": norm}

    # one style after the other: a kernel per style would turn into grouped convolutions
    def adapt_one(style_targets: perceptual.Targets):
        return run(fast, slow, {**support, "style_targets": style_targets})

    one_each = jax.tree.map(lambda x: x[:, None], support["style_targets"])
    result, inner = _map(adapt_one, one_each, unroll=problem.unroll)
    # (S, 1, ...) to (S, ...)
    result = jax.tree.map(lambda x: x[:, 0], result)
    return result, {name: inner[name].mean(axis=0) for name in ("loss", "gradient_norm")}


def _adapt(
    problem: MetaProblem,
    fast: Any,
    slow: Any,
    support: Mapping[str, Any],
    *,
    inner_optimizer: optax.GradientTransformation,
    finish: Finish,
    tasks: int,
    taken: jax.Array | None,
    step_weights: jax.Array | None,
) -> tuple[Any, dict[str, Any]]:
    """The inner loop of the styles in `support`, and `finish` of what it reached."""
    joined = functools.partial(_join, style_targets=support["style_targets"])
    reached, inner = bilevel.inner_loop(
        functools.partial(inner_loss, problem),
        fast,
        slow,
        support,
        optimizer=inner_optimizer,
        steps=problem.steps,
        estimator=problem.estimator,
        unroll=problem.unroll,
        taken=taken,
        trajectory=step_weights is not None,
        tasks=tasks,
    )
    result = finish(*joined(reached, slow), support["style_targets"])
    if step_weights is not None:
        after_each = _map(
            lambda fast: finish(*joined(fast, slow), support["style_targets"])["loss"],
            inner.pop("fast"),
            unroll=problem.unroll,
        )
        result["weighted"] = (step_weights[:, None] * after_each).sum(axis=0)
    return result, inner


def _join(fast: Any, slow: Any, style_targets: perceptual.Targets) -> tuple[Any, Any]:
    """(weights, style with a row for each of the S styles of the targets)."""
    count = jax.tree.leaves(style_targets)[0].shape[0]
    params = subsets.join(fast, slow)
    rows = jax.tree.map(
        lambda x: x if x.ndim > 1 else jnp.broadcast_to(x, (count, *x.shape)), params["style"]
    )
    return params["weights"], rows


def _map(function: Callable, tree: Any, *, unroll: bool) -> Any:
    """`jax.lax.map`, or the same without a loop: see `bilevel.inner_loop`."""
    if not unroll:
        return jax.lax.map(function, tree)
    count = jax.tree.leaves(tree)[0].shape[0]
    each = [function(jax.tree.map(lambda x: x[i], tree)) for i in range(count)]  # noqa: B023
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
