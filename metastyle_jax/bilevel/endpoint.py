"""Meta-gradient estimators that need only the start and the end of the inner loop.

Time and memory of their backward pass do not depend on the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax
from jax.scipy.sparse.linalg import cg

from metastyle_jax.bilevel import inner_gradients
from metastyle_jax.bilevel.inner_gradients import LossFn
from metastyle_jax.bilevel.loop import Loop, Metrics, PyTree, take_steps


def reptile(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop
) -> tuple[PyTree, Metrics]:
    """The gradient with respect to the start is start minus end (Reptile, Nichol et al. 2018).

    The outer loss does not enter this gradient. Of the outer loss only its direct dependence on
    the slow parameters remains. If every parameter is fast, this is Reptile as published.

    Arguments and result are those of every estimator, see `inner_loop`. The gradient is divided by
    `loop.tasks`, so that the sum over tasks is a mean.

    Raises:
      ValueError: `loop.trajectory`, of which nothing but the end would have a derivative.
    """
    _refuse_trajectory("reptile", loop)

    def run(fast: PyTree, slow: PyTree, data: PyTree):
        return _without_derivative(loss_fn, fast, slow, data, loop)

    def backward(start: PyTree, slow: PyTree, data: PyTree, end: PyTree, cotangent: PyTree):
        del slow, data, cotangent
        return jax.tree.map(lambda a, b: (a - b) / loop.tasks, start, end), None

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
) -> tuple[PyTree, Metrics]:
    """The gradient at the solution of a proximal inner problem (iMAML, Rajeswaran et al. 2019).

        w(theta) = argmin_w loss(w) + damping / 2 |w - theta|^2
        d w / d theta = (I + H / damping)^-1                                  (their lemma 1)

    The loop minimizes the proximal loss. Its end counts as the solution, whatever the number of
    steps and the optimizer, so the gradient is as good as the end is close to the solution.
    Conjugate gradients solve the linear system, with the products of `inner_gradients.products`.

    Args:
      loss_fn, fast, slow, data, loop: see `inner_loop`.
      damping: weight of the proximal term, above 0 and above -(smallest eigenvalue of H).
      solver_steps: most iterations of conjugate gradients.

    Raises:
      ValueError: `damping` is a number that is not above 0; or `loop.trajectory`, of which nothing
        but the end would have a derivative.
    """
    _refuse_trajectory("implicit", loop)
    if isinstance(damping, int | float) and damping <= 0:
        raise ValueError(f"damping must be above 0, got {damping}")
    if not loop.steps:  # nothing was solved: the end is the start
        return _without_derivative(loss_fn, fast, slow, data, loop)

    def proximal(point: PyTree, slow: PyTree, data: PyTree):
        data, start = data
        loss, aux = loss_fn(point, slow, data)
        distance = optax.tree.norm(optax.tree.sub(point, start), squared=True)
        return loss + damping / 2 * distance, (loss, aux)

    def run(fast: PyTree, slow: PyTree, data: PyTree):
        end, metrics = _without_derivative(proximal, fast, slow, (data, fast), loop)
        loss, aux = metrics["aux"]
        return end, {**metrics, "loss": loss, "aux": aux}

    def backward(start: PyTree, slow: PyTree, data: PyTree, end: PyTree, cotangent: PyTree):
        del start

        def system(vector: PyTree) -> PyTree:
            _, (product, _) = inner_gradients.products(loss_fn, end, slow, data, vector)
            return jax.tree.map(lambda v, h: v + h / damping, vector, product)

        solution, _ = cg(system, cotangent, tol=1e-10, maxiter=solver_steps)
        _, (_, mixed) = inner_gradients.products(loss_fn, end, slow, data, solution)
        return solution, jax.tree.map(lambda leaf: -leaf / damping, mixed)

    return _with_backward(run, backward, fast, slow, data)


def _refuse_trajectory(name: str, loop: Loop) -> None:
    if loop.trajectory:
        raise ValueError(f"{name} knows the end of the loop only, and no trajectory: use exact")


def _without_derivative(
    loss_fn: LossFn, fast: PyTree, slow: PyTree, data: PyTree, loop: Loop
) -> tuple[PyTree, Metrics]:
    """All steps, with inner gradients that are constants."""
    gradient_fn = inner_gradients.first_order(loss_fn)
    carry = (fast, loop.optimizer.init(fast))
    (fast, _), metrics = take_steps(gradient_fn, carry, slow, data, loop, range(loop.steps))
    return fast, metrics


def _with_backward(
    run: Callable, backward: Callable, fast: PyTree, slow: PyTree, data: PyTree
) -> tuple[PyTree, Metrics]:
    """`run(fast, slow, data)` with another derivative of the end of the loop.

    `backward(start, slow, data, end, cotangent)` returns the cotangents of fast and slow, None for
    zero. All else that the loop depends on, such as a learned inner rate, has gradient zero.
    """
    run, constants = jax.closure_convert(run, fast, slow, data)

    @jax.custom_vjp
    def adapt(*arguments: PyTree):
        return run(*arguments)

    def forward(*arguments: PyTree):
        end, metrics = run(*arguments)
        return (end, metrics), (arguments, end)

    def pull_back(residuals: tuple, cotangents: PyTree):
        arguments, end = residuals
        given = backward(*arguments[:3], end, cotangents[0])
        zero = jax.tree.map(inner_gradients.zero_cotangent, arguments)
        first = (z if g is None else g for z, g in zip(zero[:2], given, strict=True))
        return *first, *zero[2:]

    adapt.defvjp(forward, pull_back)
    return adapt(fast, slow, data, *constants)
