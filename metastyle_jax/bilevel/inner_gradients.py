"""Rules: the gradient of an inner loss, and how that gradient is differentiated in turn.

    rule(loss_fn) -> gradient_fn
    gradient_fn(fast, slow, data) -> ((loss, aux), gradient with respect to fast)

All rules compute the same gradient. They differ in its derivative, which the outer gradient needs.
`estimators` uses one rule for every step of the inner loop.
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
Rule = Callable[..., GradientFn]  # of a LossFn and, with `exact` and its ablations, `recompute`


def reverse(loss_fn: LossFn) -> GradientFn:
    """Second order by plain reverse mode over reverse mode (MAML, Finn et al. 2017).

    Memory grows with the number of steps: what every step computes is stored.
    """
    return jax.value_and_grad(loss_fn, has_aux=True)


def reverse_remat(loss_fn: LossFn) -> GradientFn:
    """`reverse` that stores only the inputs of each step and computes the rest again."""
    return jax.checkpoint(reverse(loss_fn))


def first_order(loss_fn: LossFn) -> GradientFn:
    """Inner gradients are constants: first-order MAML (Finn et al. 2017, section 5.2)."""
    gradient_fn = reverse(loss_fn)

    def gradient(fast: PyTree, slow: PyTree, data: PyTree):
        return jax.lax.stop_gradient(gradient_fn(fast, slow, data))

    return gradient


def exact(loss_fn: LossFn, *, recompute: bool = True) -> GradientFn:
    """Second order by forward mode over reverse mode (mixed mode, arXiv 2505.00793).

    The backward pass of a step gets a vector v over the fast parameters. It needs v^T H and
    v^T d(gradient)/d(slow). Second derivatives are symmetric, so both are the derivative of the
    gradient with respect to (fast, slow) in direction v: one `jvp` of one `grad`. It needs the
    inputs of the step and nothing else. So memory is flat in the number of steps, but for those
    inputs. It also avoids the transposed weight-gradient convolutions of `reverse`, which XLA
    compiles badly on CPU.

    `data` and `aux` are not differentiated: their derivatives are zero.

    Args:
      loss_fn: (fast, slow, data) -> (scalar loss, pytree of further arrays).
      recompute: False stores the linearized gradient of every step and does not compute it again
        in the backward pass. It takes less time, and memory grows with the number of steps.
    """
    return _forward_over_reverse(loss_fn, recompute, hessian=True, mixed=True)


def hessian_only(loss_fn: LossFn, *, recompute: bool = True) -> GradientFn:
    """Ablation of `exact`: the derivative with respect to the slow parameters is zero."""
    return _forward_over_reverse(loss_fn, recompute, hessian=True, mixed=False)


def mixed_only(loss_fn: LossFn, *, recompute: bool = True) -> GradientFn:
    """Ablation of `exact`: the derivative with respect to the fast parameters is zero."""
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
        # A loss that only metrics read has no cotangent, so its gradient is not needed. XLA cannot
        # drop a product with zero by itself: zero times infinity is not zero.
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


def _materialize(leaf: Any) -> jax.Array:
    if not isinstance(leaf, SymbolicZero):
        return leaf
    zero: Any = leaf.aval
    return jnp.zeros(zero.shape, zero.dtype)


def products(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, direction: PyTree
) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]:
    """The gradient with respect to (fast, slow), and its derivative along `direction`.

    Args:
      loss_fn: (fast, slow, data) -> (scalar loss, pytree of further arrays).
      fast, slow, data: the point.
      direction: v, in the shape of `fast`.

    Returns:
      (gradients with respect to (fast, slow), (H v, v^T d(gradient)/d(slow))), where H is the
      Hessian with respect to the fast parameters.
    """

    def both(point: PyTree):
        return _value_and_both(loss_fn, point, slow, data)[1]

    return jax.jvp(both, (fast,), (direction,))


def zero_cotangent(leaf: jax.Array):
    """Zeros as the cotangent of a constant. For integers and random keys JAX wants `float0`."""
    if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(jnp.shape(leaf), jax.dtypes.float0)
