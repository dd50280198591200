"""How an inner gradient is itself differentiated: a rule is a function from a loss to a gradient.

    rule(loss_fn) -> gradient_fn
    gradient_fn(fast, slow, data) -> ((loss, aux), gradient with respect to fast)

All rules compute the same gradient; they differ in the derivative of it that an outer gradient
sees. `bilevel` makes estimators of them. Nothing here knows of images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

PyTree = Any
LossFn = Callable[[PyTree, PyTree, PyTree], tuple[jax.Array, PyTree]]
GradientFn = Callable[[PyTree, PyTree, PyTree], tuple[tuple[jax.Array, PyTree], PyTree]]
Rule = Callable[[LossFn], GradientFn]


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


def exact(loss_fn: LossFn, *, recompute: bool = True) -> GradientFn:
    """Second order by forward-over-reverse products; memory stays flat in the number of steps.

    The backward pass of a step needs v^T H and v^T d(gradient)/d(slow) for a vector v over the fast
    parameters. By symmetry of second derivatives both are the derivative of the loss's gradient
    with respect to (fast, slow) in direction v: one `jvp` of one `grad`, whose residuals are the
    step's inputs (mixed-mode differentiation, arXiv 2505.00793). It also avoids the transposed
    weight-gradient convolutions of reverse-over-reverse, which XLA compiles badly on CPU.

    `data` and `aux` are not differentiated: their derivatives are zero.

    Args:
      recompute: False keeps the linearised gradient of every step for the backward pass instead of
        computing it there once more: less time, and memory that grows with the number of steps.
    """
    return _forward_over_reverse(loss_fn, recompute, hessian=True, mixed=True)


def hessian_only(loss_fn: LossFn, *, recompute: bool = True) -> GradientFn:
    """Ablation of `exact`: how the inner gradient depends on the slow parameters is left out."""
    return _forward_over_reverse(loss_fn, recompute, hessian=True, mixed=False)


def mixed_only(loss_fn: LossFn, *, recompute: bool = True) -> GradientFn:
    """Ablation of `exact`: how the inner gradient depends on the fast parameters is left out."""
    return _forward_over_reverse(loss_fn, recompute, hessian=False, mixed=True)


def _forward_over_reverse(
    loss_fn: LossFn, recompute: bool, *, hessian: bool, mixed: bool
) -> GradientFn:
    def gradient(fast: PyTree, slow: PyTree, data: PyTree):
        return reverse(loss_fn)(fast, slow, data)

    def forward(*arguments: PyTree):
        fast, slow, data = jax.tree.map(lambda leaf: leaf.value, arguments)
        if recompute:
            return gradient(fast, slow, data), (fast, slow, data)

        def both(point: PyTree):
            value, first = _value_and_both(loss_fn, point, slow, data)
            return first, value

        first, derivative, value = jax.linearize(both, fast, has_aux=True)
        return (value, first[0]), (first, derivative, data)

    def backward(residuals: tuple, cotangents: PyTree):
        (loss_cotangent, _), direction = cotangents
        direction = jax.tree.map(_materialize, direction)
        if recompute:
            fast, slow, data = residuals
            first, second = products(loss_fn, fast, slow, data, direction)
        else:
            first, derivative, data = residuals
            second = derivative(direction)
        kept = [
            product if keep else jax.tree.map(jnp.zeros_like, product)
            for product, keep in zip(second, (hessian, mixed), strict=True)
        ]
        # a loss that only metrics read has no cotangent: its gradient need not be computed, which
        # XLA cannot know of a product with zero (zero times infinity is not zero)
        if not isinstance(loss_cotangent, SymbolicZero):
            kept = jax.tree.map(lambda g, h: loss_cotangent * g + h, tuple(first), tuple(kept))
        return *kept, jax.tree.map(zero_cotangent, data)

    differentiable = jax.custom_vjp(gradient)
    differentiable.defvjp(forward, backward, symbolic_zeros=True)
    return differentiable


def _value_and_both(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree
) -> tuple[tuple[jax.Array, PyTree], tuple[PyTree, PyTree]]:
    """((loss, aux), gradients with respect to (fast, slow))."""
    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(fast, slow, data)


def _materialize(leaf: jax.Array | SymbolicZero) -> jax.Array:
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, SymbolicZero) else leaf


def products(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, direction: PyTree
) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]:
    """The gradient with respect to (fast, slow), and its derivative for fast in `direction`.

    The second pair is (H v, v^T d(gradient)/d(slow)) for H the Hessian in the fast parameters.
    """

    def both(point: PyTree):
        return _value_and_both(loss_fn, point, slow, data)[1]

    return jax.jvp(both, (fast,), (direction,))


def zero_cotangent(leaf: jax.Array):
    """The cotangent of a constant, for any dtype (integers and keys have `float0`)."""
    if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(jnp.shape(leaf), jax.dtypes.float0)
