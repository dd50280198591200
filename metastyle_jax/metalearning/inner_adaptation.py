"""The inner loop of several styles: MetaStyle eq. 3 (Zhang et al. 2019) for a batch of tasks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metastyle_jax import bilevel
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import style_tasks, subsets
from metastyle_jax.metalearning.style_tasks import TaskData

InnerOptimizer = Callable[[jax.Array, Any], optax.GradientTransformation]


def _plain_descent(step: jax.Array, rates: Any) -> optax.GradientTransformation:
    del step, rates
    return optax.sgd(1e-2)


@dataclasses.dataclass(frozen=True)
class InnerLoop:
    """How a style is adapted within an outer step. Hashable.

    Attributes:
      subset: what moves, see `subsets.split`.
      steps: T.
      estimator: how the result is differentiated, see `bilevel`.
      unroll: see `bilevel.inner_loop`.
      optimizer: (outer step, learned rates or None) -> the optimizer of the loop.
    """

    subset: str = "norm"
    steps: int = 1
    estimator: bilevel.Estimator = bilevel.exact
    unroll: bool = False
    optimizer: InnerOptimizer = _plain_descent


# (parameters, their style with leaves (S, C); targets of the S styles) -> result
Evaluate = Callable[[dict[str, Any], perceptual.Targets], Any]


class _Run(NamedTuple):
    """One inner loop, whatever parameters and styles it is run for."""

    loop: InnerLoop
    optimizer: optax.GradientTransformation
    evaluate: Evaluate
    active_steps: jax.Array | None
    step_weights: jax.Array | None


def adapt_styles(
    loop: InnerLoop,
    params: dict[str, Any],
    support: TaskData,
    optimizer: optax.GradientTransformation,
    evaluate: Evaluate,
    *,
    start: Any = None,
    active_steps: jax.Array | None = None,
    step_weights: jax.Array | None = None,
) -> tuple[Any, dict[str, jax.Array]]:
    """Run the inner loop for every style and hand what it reached to `evaluate`.

    Args:
      loop: what moves, and for how many steps.
      params: `{"weights": ..., "style": ...}`, where every style starts; and "adjuster" if there
        is one.
      support: of S styles.
      optimizer: of the inner loop.
      evaluate: called once with all styles if nothing but the style moves, else with one style at a
        time.
      start: styles to start from instead, leaves (S, C); with subsets of the whole style only.
      active_steps: () int32, how many steps are taken; None for all.
      step_weights: (T,); if given, the result is a dict and gets "weighted", the weighted sum over
        inner steps of the "loss" that `evaluate` returns after each.

    Returns:
      (result of `evaluate`, its leaves of all styles along the first axis, {"loss": (T,),
      "gradient_norm": (T,)}, means over styles).
    """
    fast, slow = subsets.split(params, loop.subset)
    run = _Run(loop, optimizer, evaluate, active_steps, step_weights)
    tasks = jax.tree.leaves(support.style_targets)[0].shape[0]
    if subsets.folds(loop.subset):
        # all styles at once: what each has for itself is a row
        fast = jax.tree.map(lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), fast)
        if start is not None:
            fast = {**fast, "style": start}
        result, inner = _adapt(run, fast, slow, support, tasks)
        loss, norm = inner["loss"] / tasks, inner["gradient_norm"] / tasks**0.5
        return result, {"loss": loss, "gradient_norm": norm}

    # one style after the other: a kernel per style would turn into grouped convolutions
    def adapt_one(style_targets: perceptual.Targets):
        data = dataclasses.replace(support, style_targets=style_targets)
        return _adapt(run, fast, slow, data, tasks)

    one_each = jax.tree.map(lambda x: x[:, None], support.style_targets)
    result, inner = _map(adapt_one, one_each, unroll=loop.unroll)
    # (S, 1, ...) to (S, ...)
    result = jax.tree.map(lambda x: x[:, 0], result)
    return result, {name: inner[name].mean(axis=0) for name in ("loss", "gradient_norm")}


def _adapt(
    run: _Run, fast: Any, slow: Any, support: TaskData, tasks: int
) -> tuple[Any, dict[str, Any]]:
    """The inner loop of the styles in `support`, and `evaluate` of what it reached."""
    reached, inner = bilevel.inner_loop(
        style_tasks.inner_loss,
        fast,
        slow,
        support,
        optimizer=run.optimizer,
        steps=run.loop.steps,
        estimator=run.loop.estimator,
        unroll=run.loop.unroll,
        active_steps=run.active_steps,
        trajectory=run.step_weights is not None,
        tasks=tasks,
    )

    def evaluate(fast: Any) -> Any:
        return run.evaluate(style_tasks.joined(fast, slow, support), support.style_targets)

    result = evaluate(reached)
    if run.step_weights is not None:
        after_each = _map(
            lambda fast: evaluate(fast)["loss"], inner.pop("fast"), unroll=run.loop.unroll
        )
        result["weighted"] = (run.step_weights[:, None] * after_each).sum(axis=0)
    return result, inner


def _map(function: Callable, tree: Any, *, unroll: bool) -> Any:
    """`jax.lax.map`, or the same without a loop: see `bilevel.inner_loop`."""
    if not unroll:
        return jax.lax.map(function, tree)
    count = jax.tree.leaves(tree)[0].shape[0]
    each = [function(jax.tree.map(functools.partial(_row, i), tree)) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def _row(index: int, leaf: jax.Array) -> jax.Array:
    return leaf[index]
