"""Meta-gradient estimators that differentiate the steps of the inner loop, and the table of all.

Estimators that only need the end of the loop are in `endpoint`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from metastyle_jax.bilevel import inner_gradients
from metastyle_jax.bilevel.endpoint import implicit, reptile
from metastyle_jax.bilevel.inner_gradients import LossFn, Rule
from metastyle_jax.bilevel.loop import Estimator, Loop, Metrics, PyTree, take_steps


def through_every_step(rule: Rule, *, recomputes: bool = False) -> Estimator:
    """An estimator that differentiates every step, each inner gradient by `rule`.

    Args:
      rule: see `inner_gradients`.
      recomputes: the rule has the argument `recompute`, as `inner_gradients.exact` has.
    """

    @functools.wraps(rule, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    def estimator(loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop):
        chosen = _storing_if_unrolled(rule, loop) if recomputes else rule
        carry = (fast, loop.optimizer.init(fast))
        (fast, _), metrics = take_steps(chosen(loss_fn), carry, slow, data, loop, range(loop.steps))
        return fast, metrics

    return estimator


def _storing_if_unrolled(rule: Rule, loop: Loop) -> Rule:
    """Unrolled steps are for speed, so they store their linearized gradients."""
    return functools.partial(rule, recompute=not loop.unroll)


exact = through_every_step(inner_gradients.exact, recomputes=True)
hessian_only = through_every_step(inner_gradients.hessian_only, recomputes=True)
mixed_only = through_every_step(inner_gradients.mixed_only, recomputes=True)
reverse = through_every_step(inner_gradients.reverse)
reverse_remat = through_every_step(inner_gradients.reverse_remat)
first_order = through_every_step(inner_gradients.first_order)


def truncated(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop, *, last: int = 1
) -> tuple[PyTree, Metrics]:
    """`exact` for the last steps, `first_order` for the steps before them.

    Truncated back-propagation (Shaban et al. 2019). The Jacobian of every earlier step is replaced
    by the identity.

    Args:
      loss_fn, fast, slow, data, loop: see `inner_loop`.
      last: how many steps are differentiated exactly, 0 or more. All of them if it exceeds T.

    Raises:
      ValueError: `last` is negative.
    """
    if last < 0:
        raise ValueError(f"last must be 0 or more, got {last}")
    first = max(0, loop.steps - last)
    carry = (fast, loop.optimizer.init(fast))
    parts = []
    for rule, numbers in (
        (inner_gradients.first_order, range(first)),
        (_storing_if_unrolled(inner_gradients.exact, loop), range(first, loop.steps)),
    ):
        carry, metrics = take_steps(rule(loss_fn), carry, slow, data, loop, numbers)
        parts.append(metrics)
    return carry[0], jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


ESTIMATORS: dict[str, Estimator] = {
    "exact": exact,
    "reverse": reverse,
    "reverse_remat": reverse_remat,
    "first_order": first_order,
    "hessian_only": hessian_only,
    "mixed_only": mixed_only,
    "truncated": truncated,
    "reptile": reptile,
    "implicit": implicit,
}
