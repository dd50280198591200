"""Bilevel optimisation: a differentiable inner loop and the meta-gradient estimators.

    min over theta of  E_task outer_loss(w_T),   w_0 = theta,  w_t = w_{t-1} - step(grad inner_loss)

(MetaStyle, Zhang et al. 2019, eq. 3; MAML, Finn et al. 2017). Nothing here knows of images.

An estimator decides how the inner gradient itself is differentiated by the outer one. It is a
function from a loss to a value-and-gradient function, so a new one is a new function beside these:

    estimator(loss_fn) -> gradient_fn
    gradient_fn(fast, slow, data) -> ((loss, aux), gradient with respect to fast)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

PyTree = Any
LossFn = Callable[[PyTree, PyTree, PyTree], tuple[jax.Array, PyTree]]
GradientFn = Callable[[PyTree, PyTree, PyTree], tuple[tuple[jax.Array, PyTree], PyTree]]
Estimator = Callable[[LossFn], GradientFn]


def reverse(loss_fn: LossFn) -> GradientFn:
    """Second order by plain reverse-over-reverse; memory grows with the number of steps."""
    return jax.value_and_grad(loss_fn, has_aux=True)


def reverse_remat(loss_fn: LossFn) -> GradientFn:
    """`reverse` with each step recomputed in the backward pass: keeps only the steps' inputs."""
    return jax.checkpoint(reverse(loss_fn))


def first_order(loss_fn: LossFn) -> GradientFn:
    """FOMAML (Finn et al. 2017, section 5.2): inner gradients are constants."""
    gradient_fn = reverse(loss_fn)

    def gradient(fast: PyTree, slow: PyTree, data: PyTree):
        return jax.lax.stop_gradient(gradient_fn(fast, slow, data))

    return gradient


def exact(loss_fn: LossFn) -> GradientFn:
    """Second order by forward-over-reverse products; memory stays flat in the number of steps.

    The backward pass of a step needs v^T H and v^T d(gradient)/d(slow) for a vector v over the fast
    parameters. By symmetry of second derivatives both are the derivative of the loss's gradient
    with respect to (fast, slow) in direction v: one `jvp` of one `grad`, whose residuals are the
    step's inputs (mixed-mode differentiation, arXiv 2505.00793). It also avoids the transposed
    weight-gradient convolutions of reverse-over-reverse, which XLA compiles badly on CPU.

    `data` and `aux` are not differentiated: their derivatives are zero.
    """

    def gradient(fast: PyTree, slow: PyTree, data: PyTree):
        return reverse(loss_fn)(fast, slow, data)

    def forward(fast: PyTree, slow: PyTree, data: PyTree):
        return gradient(fast, slow, data), (fast, slow, data)

    def backward(residuals: tuple[PyTree, PyTree, PyTree], cotangents: PyTree):
        fast, slow, data = residuals
        (loss_cotangent, _), direction = cotangents

        def both(point: PyTree):
            return jax.grad(loss_fn, argnums=(0, 1), has_aux=True)(point, slow, data)[0]

        first, second = jax.jvp(both, (fast,), (direction,))
        total = jax.tree.map(lambda g, h: loss_cotangent * g + h, first, second)
        return *total, jax.tree.map(_zero_cotangent, data)

    differentiable = jax.custom_vjp(gradient)
    differentiable.defvjp(forward, backward)
    return differentiable


def _zero_cotangent(leaf: jax.Array):
    if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(jnp.shape(leaf), jax.dtypes.float0)


ESTIMATORS: dict[str, Estimator] = {
    "exact": exact,
    "reverse": reverse,
    "reverse_remat": reverse_remat,
    "first_order": first_order,
}


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
) -> tuple[PyTree, dict[str, PyTree]]:
    """Take `steps` steps of `optimizer` on `loss_fn`, differentiable as `estimator` says.

    Args:
      loss_fn: (fast, slow, data) -> (scalar loss, aux pytree of arrays).
      fast: parameters that move.
      slow: parameters that do not move, but that the outer gradient reaches.
      data: everything else the loss reads (targets, images, feature weights): a constant.
      optimizer: of the inner loop, for example `optax.sgd(rate)`.
      steps: T >= 0.
      estimator: `exact`, `reverse`, `reverse_remat` or `first_order`.
      unroll: compile the steps one after the other instead of as a loop. XLA:CPU needs it to be
        fast: inside a loop it does not rewrite convolutions for its fast kernels (12 times slower
        at 128 px); elsewhere a loop compiles sooner.

    Returns:
      (fast after T steps, {"loss": (T,), "aux": leaves (T, ...), "gradient_norm": (T,)}), where
      entry t was measured before step t was taken.
    """
    gradient_fn = estimator(loss_fn)

    def step(carry: tuple[PyTree, PyTree], _: None):
        fast, state = carry
        (loss, aux), gradient = gradient_fn(fast, slow, data)
        updates, state = optimizer.update(gradient, state, fast)
        metrics = {"loss": loss, "aux": aux, "gradient_norm": optax.tree.norm(gradient)}
        return (optax.apply_updates(fast, updates), state), jax.lax.stop_gradient(metrics)

    scan = _unrolled_scan if unroll and steps else jax.lax.scan
    (fast, _), metrics = scan(step, (fast, optimizer.init(fast)), None, length=steps)
    return fast, metrics


def _unrolled_scan(step: Callable, carry: PyTree, _: None, *, length: int) -> tuple:
    # not `lax.scan(unroll=length)`: with one step that still makes a loop
    outputs = []
    for _ in range(length):
        carry, output = step(carry, None)
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)
