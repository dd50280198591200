"""Bilevel optimisation: a differentiable inner loop and the meta-gradient estimators.

    min over theta of  E_task outer_loss(w_T),   w_0 = theta,  w_t = w_{t-1} - step(grad inner_loss)

(MetaStyle, Zhang et al. 2019, eq. 3; MAML, Finn et al. 2017). Nothing here knows of images.

An estimator runs the inner loop and decides how what it reached depends on where it began and on
the slow parameters. All have one signature, so that a new one is a new function beside these:

    estimator(loss_fn, fast, slow, data, loop) -> (fast after the loop, metrics)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.sparse.linalg import cg

from metastyle_jax.bilevel import inner_gradients
from metastyle_jax.bilevel.inner_gradients import GradientFn, LossFn, Rule

PyTree = Any


class Loop(NamedTuple):
    """What an inner loop does, beside how it is differentiated.

    Attributes:
      optimizer: of the inner loop, for example `optax.sgd(rate)`.
      steps: T >= 0.
      unroll: compile the steps one after the other instead of as a loop; `exact` then keeps what
        their backward passes need instead of computing it again.
      active_steps: () int32, how many of the `steps` are run; the others change nothing. None for
        all.
      trajectory: whether the metrics hold the fast parameters after every step.
      tasks: how many tasks the outer loss is a mean over; only `reptile` needs to know.
    """

    optimizer: optax.GradientTransformation
    steps: int
    unroll: bool = False
    active_steps: jax.Array | None = None
    trajectory: bool = False
    tasks: int = 1


Estimator = Callable[[LossFn, PyTree, PyTree, PyTree, Loop], tuple[PyTree, dict[str, PyTree]]]


def inner_loop(
    loss_fn: LossFn,
    fast: PyTree,
    slow: PyTree,
    data: PyTree,
    *,
    optimizer: optax.GradientTransformation,
    steps: int,
    estimator: Estimator,
    unroll: bool = False,
    active_steps: jax.Array | None = None,
    trajectory: bool = False,
    tasks: int = 1,
) -> tuple[PyTree, dict[str, PyTree]]:
    """Take `steps` steps of `optimizer` on `loss_fn`, differentiable as `estimator` says.

    Args:
      loss_fn: (fast, slow, data) -> (scalar loss, aux pytree of arrays).
      fast: parameters that move.
      slow: parameters that do not move, but that the outer gradient reaches.
      data: everything else the loss reads (targets, images, feature weights): a constant.
      estimator: one of `ESTIMATORS`, or another function of that signature.
      optimizer, steps, active_steps, trajectory, tasks: see `Loop`.
      unroll: XLA:CPU needs it to be fast: inside a loop it does not rewrite convolutions for its
        fast kernels (nine times slower at 128 px); elsewhere a loop compiles sooner.

    Returns:
      (fast after the loop, {"loss": (T,), "aux": leaves (T, ...), "gradient_norm": (T,)}), where
      entry t was measured before step t was taken and carries no gradient; with `trajectory` also
      "fast", leaves (T, ...), entry t after step t, which does.
    """
    loop = Loop(optimizer, steps, unroll, active_steps, trajectory, tasks)
    return estimator(loss_fn, fast, slow, data, loop)


def every_step(rule: Rule, *, recomputes: bool = False) -> Estimator:
    """The estimator that differentiates every step, its inner gradient by `rule`.

    Args:
      recomputes: whether the rule takes `recompute`, see `inner_gradients.exact`.
    """

    @functools.wraps(rule, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    def estimator(loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop):
        chosen = _keeping_if_unrolled(rule, loop) if recomputes else rule
        carry = (fast, loop.optimizer.init(fast))
        (fast, _), metrics = _take_steps(chosen(loss_fn), carry, slow, data, loop, 0, loop.steps)
        return fast, metrics

    return estimator


def _keeping_if_unrolled(rule: Rule, loop: Loop) -> Rule:
    """Unrolled steps are for speed: they keep their linearised gradients."""
    return functools.partial(rule, recompute=not loop.unroll)


exact = every_step(inner_gradients.exact, recomputes=True)
hessian_only = every_step(inner_gradients.hessian_only, recomputes=True)
mixed_only = every_step(inner_gradients.mixed_only, recomputes=True)
reverse = every_step(inner_gradients.reverse)
reverse_remat = every_step(inner_gradients.reverse_remat)
first_order = every_step(inner_gradients.first_order)


def truncated(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop, *, last: int = 1
) -> tuple[PyTree, dict[str, PyTree]]:
    """`exact` for the last steps, `first_order` for those before.

    Truncated back-propagation (Shaban et al. 2019) for an initialisation: the Jacobians of the
    steps before the last ones count as the identity.

    Args:
      last: how many steps are differentiated exactly.
    """
    first = max(0, loop.steps - last)
    carry = (fast, loop.optimizer.init(fast))
    parts = []
    for rule, begin, end in (
        (inner_gradients.first_order, 0, first),
        (_keeping_if_unrolled(inner_gradients.exact, loop), first, loop.steps),
    ):
        carry, metrics = _take_steps(rule(loss_fn), carry, slow, data, loop, begin, end)
        parts.append(metrics)
    return carry[0], jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def reptile(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop
) -> tuple[PyTree, dict[str, PyTree]]:
    """Reptile (Nichol et al. 2018): the gradient with respect to the start is start minus end.

    It ignores the outer loss, of which only the direct dependence on the slow parameters is left,
    as in `first_order`. With every parameter fast this is Reptile as published.
    """

    def run(fast: PyTree, slow: PyTree, data: PyTree):
        return first_order(loss_fn, fast, slow, data, loop)

    def backward(start: PyTree, slow: PyTree, data: PyTree, adapted: PyTree, cotangent: PyTree):
        del slow, data, cotangent
        return jax.tree.map(lambda a, b: (a - b) / loop.tasks, start, adapted), None

    return _with_backward(run, backward, fast, slow, data)


def implicit(
    loss_fn: LossFn,
    fast: PyTree,
    slow: PyTree,
    data: PyTree,
    loop: Loop,
    *,
    damping: float = 1.0,
    solver_steps: int = 10,
) -> tuple[PyTree, dict[str, PyTree]]:
    """iMAML (Rajeswaran et al. 2019): the gradient at the solution of a proximal inner problem.

        w(theta) = argmin_w loss(w) + damping / 2 |w - theta|^2
        d w / d theta = (I + H / damping)^-1                                  (their lemma 1)

    The loop minimises the proximal loss; what it reached is taken for the solution, however many
    steps it took and by whatever optimizer, so memory and time of the backward pass do not depend
    on them. The linear system is solved by conjugate gradients, on the fast parameters only, with
    the products of `inner_gradients.products`; it needs damping > -lambda_min(H).

    Args:
      damping: lambda of the proximal term.
      solver_steps: most iterations of conjugate gradients.
    """

    def proximal(point: PyTree, slow: PyTree, data: PyTree):
        data, start = data
        loss, aux = loss_fn(point, slow, data)
        distance = optax.tree.norm(optax.tree.sub(point, start), squared=True)
        return loss + damping / 2 * distance, (loss, aux)

    def run(fast: PyTree, slow: PyTree, data: PyTree):
        adapted, metrics = first_order(proximal, fast, slow, (data, fast), loop)
        loss, aux = metrics["aux"]
        return adapted, {**metrics, "loss": loss, "aux": aux}

    def backward(start: PyTree, slow: PyTree, data: PyTree, adapted: PyTree, cotangent: PyTree):
        del start

        def system(vector: PyTree) -> PyTree:
            _, (product, _) = inner_gradients.products(loss_fn, adapted, slow, data, vector)
            return jax.tree.map(lambda v, h: v + h / damping, vector, product)

        solution, _ = cg(system, cotangent, tol=1e-10, maxiter=solver_steps)
        _, (_, mixed) = inner_gradients.products(loss_fn, adapted, slow, data, solution)
        return solution, jax.tree.map(lambda leaf: -leaf / damping, mixed)

    return _with_backward(run, backward, fast, slow, data)


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


def _with_backward(
    run: Callable, backward: Callable, fast: PyTree, slow: PyTree, data: PyTree
) -> tuple[PyTree, dict[str, PyTree]]:
    """`run(fast, slow, data)` with another derivative of what the loop reached.

    `backward(start, slow, data, reached, cotangent)` returns the cotangents of fast and slow; None
    for zero. Whatever else the loop depends on, such as a learned inner rate, gets none.
    """
    run, constants = jax.closure_convert(run, fast, slow, data)

    @jax.custom_vjp
    def adapt(*arguments: PyTree):
        return run(*arguments)

    def forward(*arguments: PyTree):
        reached, metrics = run(*arguments)
        return (reached, metrics), (arguments, reached)

    def pull_back(residuals: tuple, cotangents: PyTree):
        arguments, reached = residuals
        found = backward(*arguments[:3], reached, cotangents[0])
        zero = jax.tree.map(inner_gradients.zero_cotangent, arguments)
        return *(z if f is None else f for z, f in zip(zero[:2], found, strict=True)), *zero[2:]

    adapt.defvjp(forward, pull_back)
    return adapt(fast, slow, data, *constants)


def _take_steps(
    gradient_fn: GradientFn,
    carry: tuple[PyTree, PyTree],
    slow: PyTree,
    data: PyTree,
    loop: Loop,
    begin: int,
    end: int,
) -> tuple[tuple[PyTree, PyTree], dict[str, PyTree]]:
    """Steps `begin` to `end` from `carry`, (fast, state of the optimizer)."""

    def step(carry: tuple[PyTree, PyTree], number: jax.Array):
        fast, state = carry
        (loss, aux), gradient = gradient_fn(fast, slow, data)
        metrics = {"loss": loss, "aux": aux, "gradient_norm": optax.tree.norm(gradient)}
        metrics = jax.lax.stop_gradient(metrics)
        updates, state = loop.optimizer.update(gradient, state, fast)
        moved = (optax.apply_updates(fast, updates), state)
        if loop.active_steps is not None:
            active = number < loop.active_steps
            moved = jax.tree.map(lambda new, old: jnp.where(active, new, old), moved, carry)
        if loop.trajectory:
            metrics["fast"] = moved[0]
        return moved, metrics

    scan = _unrolled_scan if loop.unroll and end > begin else jax.lax.scan
    return scan(step, carry, np.arange(begin, end, dtype=np.int32))


def _unrolled_scan(step: Callable, carry: PyTree, numbers: np.ndarray) -> tuple:
    # not `lax.scan(unroll=length)`: with one step that still makes a loop
    outputs = []
    for number in numbers:
        carry, output = step(carry, number)
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def clip_by_task_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm` for tasks folded into one batch: each task has its own norm.

    Args:
      max_norm: of the gradient of a task; leaves are (tasks, ...).
    """

    def update(updates: PyTree, state: optax.EmptyState, params: PyTree = None):
        del params
        squares = [
            jnp.square(leaf).sum(axis=tuple(range(1, leaf.ndim)))
            for leaf in jax.tree.leaves(updates)
        ]
        # the root only where the norm is too large: at zero its derivative is infinite
        total = jnp.maximum(sum(squares), max_norm**2)
        factor = max_norm / jnp.sqrt(total)

        def clip(leaf: jax.Array) -> jax.Array:
            return leaf * factor.reshape(factor.shape + (1,) * (leaf.ndim - 1))

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
