"""The inner loop: steps of an optimizer on an inner loss, as an outer loss sees them.

    minimize over theta:  mean over tasks of outer_loss(w_T)
    where  w_0 = theta  and  w_t = w_{t-1} - step(gradient of inner_loss at w_{t-1})

MetaStyle, Zhang et al. 2019, eq. 3; MAML, Finn et al. 2017, eq. 1.

An estimator runs the loop and defines its derivative. All estimators have one signature, so a new
one is a new function:

    estimator(loss_fn, fast, slow, data, loop) -> (fast after the loop, metrics)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metastyle_jax.bilevel.inner_gradients import GradientFn, LossFn

PyTree = Any
Metrics = dict[str, PyTree]


class Loop(NamedTuple):
    """What an inner loop does. Its derivative is the estimator's part.

    Attributes:
      optimizer: of the inner loop, for example `optax.sgd(rate)`.
      steps: T, 0 or more.
      unroll: compile the steps one after the other, not as a loop. `exact` then stores what its
        backward pass needs and does not compute it again: faster, but memory grows with T.
      active_steps: () int32, how many of the T steps are run; the others change nothing. None for
        all.
      trajectory: the metrics also hold the fast parameters after every step.
      tasks: how many tasks the outer loss is a mean over. Only `reptile` reads it.
    """

    optimizer: optax.GradientTransformation
    steps: int
    unroll: bool = False
    active_steps: jax.Array | None = None
    trajectory: bool = False
    tasks: int = 1


class LoopOptions(TypedDict, total=False):
    """The optional arguments of `inner_loop`: the fields of `Loop` that have a default."""

    unroll: bool
    active_steps: jax.Array | None
    trajectory: bool
    tasks: int


Estimator = Callable[[LossFn, PyTree, PyTree, PyTree, Loop], tuple[PyTree, Metrics]]


def inner_loop(
    loss_fn: LossFn,
    fast: PyTree,
    slow: PyTree,
    data: PyTree,
    *,
    optimizer: optax.GradientTransformation,
    steps: int,
    estimator: Estimator,
    **options: Unpack[LoopOptions],
) -> tuple[PyTree, Metrics]:
    """Take `steps` steps of `optimizer` on `loss_fn`. The estimator defines the derivative.

    Args:
      loss_fn: (fast, slow, data) -> (scalar loss, pytree of further arrays).
      fast: pytree of float arrays, the parameters that the loop moves.
      slow: pytree of float arrays that the loop does not move, but that the outer loss is
        differentiated by: shared weights, hyperparameters.
      data: pytree of all other arrays that the loss reads, of any dtype. The second-order rules
        treat it as constant.
      optimizer: any `optax.GradientTransformation`. Its settings may be traced values.
      steps: T, 0 or more.
      estimator: one of `ESTIMATORS`, or a function of the same signature.
      **options: unroll, active_steps, trajectory, tasks: see `Loop`. On CPU `unroll=True` makes
        convolutions fast: inside a loop XLA does not rewrite them for its fast kernels (nine
        times slower at 128 px). Elsewhere a loop compiles sooner.

    Returns:
      (fast after the loop, metrics). The metrics are "loss" (T,), "gradient_norm" (T,) and "aux",
      leaves (T, ...). Entry t is measured before step t and has no derivative. With `trajectory`
      there is also "fast", leaves (T, ...). Its entry t holds the parameters after step t and has
      a derivative.

    Raises:
      ValueError: `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    return estimator(loss_fn, fast, slow, data, Loop(optimizer, steps, **options))


def take_steps(
    gradient_fn: GradientFn,
    carry: tuple[PyTree, PyTree],
    slow: PyTree,
    data: PyTree,
    loop: Loop,
    numbers: range,
) -> tuple[tuple[PyTree, PyTree], Metrics]:
    """Run the steps with these numbers (0 is the first step of the loop).

    Args:
      gradient_fn: see `inner_gradients`.
      carry: (fast parameters, state of the optimizer) before the first of these steps.
      slow, data, loop: see `inner_loop`.
      numbers: consecutive numbers of steps; may be empty.

    Returns:
      (carry after the last of these steps, metrics of these steps as `inner_loop` describes them).
    """

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

    scan: Callable[..., Any] = _unrolled_scan if loop.unroll and len(numbers) else jax.lax.scan
    return scan(step, carry, np.asarray(numbers, np.int32))


def _unrolled_scan(step: Callable, carry: PyTree, numbers: np.ndarray) -> tuple:
    # not `lax.scan(unroll=length)`: with one step that still makes a loop
    outputs = []
    for number in numbers:
        carry, output = step(carry, number)
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)
