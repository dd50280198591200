"""Meta-gradients against closed forms and finite differences, all in float64.

The losses are smooth and know nothing of images; metalearning/test_outer_loss.py has real ones.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from derivatives import central_difference, flat, promoting, relative_error
from metastyle_jax import bilevel
from metastyle_jax.bilevel import inner_gradients

pytestmark = pytest.mark.usefixtures("float64")

SECOND_ORDER = ("exact", "reverse", "reverse_remat")
PLAIN = tuple(name for name in bilevel.ESTIMATORS if name != "implicit")  # the loss as it is
OPTIMIZERS = {
    "sgd": lambda rate: optax.sgd(rate),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.8, nesterov=True),
    # eps_root keeps the root differentiable
    "adam": lambda rate: promoting(optax.adam(rate, eps_root=1e-3)),
    "clipped": lambda rate: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(rate)),
}


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


# a perceptron with tanh: fast is the first layer, slow the second
FAST = {"kernel": np.zeros((3, 5)), "bias": np.zeros(5)}
SLOW = {"kernel": np.zeros((5, 2))}


def network(fast: Any, slow: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ fast["kernel"] + fast["bias"][None]) @ slow["kernel"]


def smooth_loss(fast: Any, slow: Any, data: Any):
    error = network(fast, slow, data["x"]) - data["y"]
    return jnp.square(error).mean(), {"worst": jnp.abs(error).max(), "rows": data["row"]}


def start() -> tuple[Any, Any]:
    return tiny.like(FAST, seed=1), tiny.like(SLOW, seed=2)


def examples(seed: int) -> dict[str, jax.Array]:
    x, y = random(7, 3, seed=seed), random(7, 2, seed=seed + 100)
    return {"x": x, "y": y, "row": jnp.arange(7), "key": jax.random.key(seed)}


def outer_loss(point: Any, *, estimator: str, steps: int, optimizer="sgd", unroll=False):
    """Query loss after the inner loop; `point` holds the start, the slow part and the rate."""
    fast, _ = bilevel.inner_loop(
        smooth_loss,
        point["fast"],
        point["slow"],
        examples(3),
        optimizer=OPTIMIZERS[optimizer](point["rate"]),
        steps=steps,
        estimator=bilevel.ESTIMATORS[estimator],
        unroll=unroll,
    )
    return smooth_loss(fast, point["slow"], examples(4))[0]


def adapt(fast: Any, slow: Any, optimizer: optax.GradientTransformation, **options: Any):
    """The inner loop on the first examples, compiled."""

    @jax.jit
    def loop(fast, slow, data):
        settings = {"estimator": bilevel.reverse, "optimizer": optimizer, **options}
        return bilevel.inner_loop(smooth_loss, fast, slow, data, **settings)

    return loop(fast, slow, examples(3))


def initial_point(rate: float = 0.4) -> dict[str, Any]:
    fast, slow = start()
    return {"fast": fast, "slow": slow, "rate": jnp.asarray(rate)}


def outer_gradient(point: Any, **options: Any):
    return jax.jit(jax.grad(lambda point: outer_loss(point, **options)))(point)


def quadratic(size: int = 4):
    """Inner loss w^T H w / 2 - b^T w with slow b, outer loss |w - q|^2 / 2."""
    square = np.asarray(random(size, size))
    hessian = jnp.asarray(square @ square.T / size + np.eye(size))

    def inner(fast, slow, data):
        return fast @ data @ fast / 2 - slow @ fast, ()

    return inner, hessian, random(size, seed=1), random(size, seed=2), random(size, seed=3)


def quadratic_gradient(estimator, steps: int, rate: float = 0.3, tasks: int = 1):
    """(actual cotangents of fast and slow, adapted, everything of the problem as NumPy)."""
    inner, hessian, fast, slow, objective = quadratic()

    def outer(fast, slow):
        adapted, _ = bilevel.inner_loop(
            inner,
            fast,
            slow,
            hessian,
            optimizer=optax.sgd(rate),
            steps=steps,
            estimator=estimator,
            tasks=tasks,
        )
        return jnp.square(adapted - objective).sum() / 2, adapted

    gradient = jax.jit(jax.grad(outer, argnums=(0, 1), has_aux=True))
    actual, adapted = gradient(fast, slow)
    return actual, np.asarray(adapted), *map(np.asarray, (hessian, fast, slow, objective))


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("estimator", SECOND_ORDER)
def test_quadratic_meta_gradient_is_a_product_of_identity_minus_rate_times_hessian(
    estimator, steps
):
    rate = 0.3
    actual, reached, hessian, fast, slow, objective = quadratic_gradient(
        bilevel.ESTIMATORS[estimator], steps, rate
    )
    contraction = np.eye(4) - rate * hessian
    adapted = fast
    for _ in range(steps):
        adapted = contraction @ adapted + rate * slow
    np.testing.assert_allclose(reached, adapted, rtol=1e-12)
    powers = [np.linalg.matrix_power(contraction, t) for t in range(steps + 1)]
    difference = adapted - objective
    np.testing.assert_allclose(actual[0], powers[steps] @ difference, rtol=1e-12)
    np.testing.assert_allclose(actual[1], rate * sum(powers[:steps]) @ difference, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_second_order_estimators_agree_and_equal_finite_differences(optimizer, steps):
    """The point includes the inner rate, so that its derivative is checked as well."""
    point = initial_point(rate=0.1)
    options = {"optimizer": optimizer, "steps": steps}
    gradients = {name: outer_gradient(point, estimator=name, **options) for name in SECOND_ORDER}
    for name in SECOND_ORDER:
        assert relative_error(gradients[name], gradients["reverse"]) < 1e-10

    value = jax.jit(lambda point: outer_loss(point, estimator="exact", **options))
    directions = [tiny.like(point, seed=seed) for seed in range(5, 8)]
    nothing = jax.tree.map(jnp.zeros_like, point)
    directions.append({**nothing, "rate": jnp.asarray(1.0)})
    for direction in directions:
        expected = central_difference(value, point, direction, 2e-5)
        actual = flat(gradients["exact"]) @ flat(direction)
        assert actual == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_first_order_treats_inner_gradients_as_constants(optimizer):
    """Without clipping and momenta: the gradient at the adapted point, passed straight back."""
    point = initial_point()
    options = {"steps": 2, "optimizer": optimizer}
    actual = outer_gradient(point, estimator="first_order", **options)
    adapted = adapt(point["fast"], point["slow"], OPTIMIZERS[optimizer](0.4), steps=2)[0]

    def query(fast, slow):
        return smooth_loss(fast, slow, examples(4))[0]

    expected = jax.grad(query, argnums=(0, 1))(adapted, point["slow"])
    assert relative_error((actual["fast"], actual["slow"]), expected) < 1e-12
    exact = outer_gradient(point, estimator="exact", **options)
    assert relative_error(actual["fast"], exact["fast"]) > 1e-2


def test_first_order_equals_exact_at_rate_zero():
    point = initial_point(rate=0.0)
    exact = outer_gradient(point, estimator="exact", steps=2)
    first = outer_gradient(point, estimator="first_order", steps=2)
    for part in ("fast", "slow"):
        assert relative_error(first[part], exact[part]) < 1e-12
    assert exact["rate"] != 0


@pytest.mark.parametrize("estimator", bilevel.ESTIMATORS)
def test_unrolled_steps_equal_the_loop(estimator):
    point = initial_point()
    options = {"estimator": estimator, "steps": 3, "optimizer": "momentum"}
    unrolled = outer_gradient(point, unroll=True, **options)
    assert relative_error(unrolled, outer_gradient(point, **options)) < 1e-13


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("estimator", PLAIN)
def test_metrics_are_measured_before_each_step(estimator, unroll):
    fast, slow = start()
    data = examples(3)
    options = {"steps": 3, "estimator": bilevel.ESTIMATORS[estimator], "unroll": unroll}
    adapted, metrics = adapt(fast, slow, optax.sgd(0.4), **options)
    gradient_fn = jax.jit(jax.value_and_grad(smooth_loss, has_aux=True))
    for step in range(3):
        (loss, aux), gradient = gradient_fn(fast, slow, data)
        np.testing.assert_allclose(metrics["loss"][step], loss, rtol=1e-12)
        np.testing.assert_allclose(metrics["aux"]["worst"][step], aux["worst"], rtol=1e-12)
        np.testing.assert_array_equal(metrics["aux"]["rows"][step], np.arange(7))
        norm = np.linalg.norm(flat(gradient))
        np.testing.assert_allclose(metrics["gradient_norm"][step], norm, rtol=1e-12)
        fast = jax.tree.map(lambda w, g: w - 0.4 * g, fast, gradient)
    assert relative_error(adapted, fast) < 1e-13
    assert metrics["loss"].shape == metrics["gradient_norm"].shape == (3,)


@pytest.mark.parametrize("unroll", [False, True])
def test_no_steps_leave_the_start_and_measure_nothing(unroll):
    fast, slow = start()
    adapted, metrics = adapt(
        fast, slow, optax.sgd(0.4), steps=0, estimator=bilevel.exact, unroll=unroll
    )
    np.testing.assert_array_equal(flat(adapted), flat(fast))
    assert metrics["loss"].shape == (0,)
    assert metrics["aux"]["rows"].shape == (0, 7)
    point = initial_point()
    actual = outer_gradient(point, estimator="exact", steps=0, unroll=unroll)
    expected = jax.grad(lambda fast: smooth_loss(fast, slow, examples(4))[0])(fast)
    assert relative_error(actual["fast"], expected) < 1e-13


@pytest.mark.parametrize("estimator", [e for e in bilevel.ESTIMATORS if e != "reptile"])
def test_metrics_carry_no_gradient(estimator):
    fast, slow = start()

    def measured(fast):
        _, metrics = bilevel.inner_loop(
            smooth_loss,
            fast,
            slow,
            examples(3),
            optimizer=optax.sgd(0.4),
            steps=2,
            estimator=bilevel.ESTIMATORS[estimator],
        )
        return metrics["loss"].sum() + metrics["gradient_norm"].sum()

    np.testing.assert_array_equal(flat(jax.jit(jax.grad(measured))(fast)), 0)


def test_exact_passes_on_what_flows_into_the_loss_as_reverse_does():
    """Not through `inner_loop`, whose metrics are constants, but in the rule itself."""
    fast, slow = start()
    direction = tiny.like(fast, seed=9)

    def both(point, rule):
        (loss, _), gradient = rule(smooth_loss)(*point, examples(3))
        return jnp.sin(loss) + sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))

    actual, expected = (
        jax.jit(jax.grad(lambda point: both(point, rule)))((fast, slow))  # noqa: B023
        for rule in (inner_gradients.exact, inner_gradients.reverse)
    )
    assert relative_error(actual, expected) < 1e-12


def test_exact_takes_data_as_a_constant():
    fast, slow = start()

    def summed(y, rule):
        _, gradient = rule(smooth_loss)(fast, slow, {**examples(3), "y": y})
        return gradient["kernel"].sum()

    y = examples(3)["y"]
    np.testing.assert_array_equal(jax.grad(summed)(y, inner_gradients.exact), 0)
    assert np.abs(jax.grad(summed)(y, inner_gradients.reverse)).max() > 0.01


def test_backward_products_of_exact_are_the_columns_of_the_hessian():
    fast, slow = start()
    _, unravel = jax.flatten_util.ravel_pytree(fast)

    def loss(vector):
        return smooth_loss(unravel(vector), slow, examples(3))[0]

    def gradient(vector):
        _, gradient = inner_gradients.exact(smooth_loss)(unravel(vector), slow, examples(3))
        return jax.flatten_util.ravel_pytree(gradient)[0]

    vector = jnp.asarray(flat(fast))
    actual = jax.jit(jax.jacrev(gradient))(vector)
    np.testing.assert_allclose(actual, jax.jit(jax.hessian(loss))(vector), atol=1e-13)
    np.testing.assert_allclose(actual, actual.T, atol=1e-13)


def test_the_loop_traces_the_loss_as_often_for_many_steps_as_for_one():
    traces = []

    def counted(fast, slow, data):
        traces.append(None)
        return smooth_loss(fast, slow, data)

    def outer(fast, slow, steps):
        adapted, _ = bilevel.inner_loop(
            counted,
            fast,
            slow,
            examples(3),
            optimizer=optax.sgd(0.4),
            steps=steps,
            estimator=bilevel.exact,
        )
        return smooth_loss(adapted, slow, examples(4))[0]

    counts = []
    for steps in (1, 8):
        traces.clear()
        jax.jit(jax.grad(outer), static_argnums=2).lower(*start(), steps)
        counts.append(len(traces))
    assert counts[0] == counts[1] <= 4


def test_memory_of_exact_stays_flat_in_the_number_of_steps():
    """But for the steps' inputs: the residuals that it keeps are the fast parameters."""
    fast, slow = start()
    wide = {"x": random(2000, 3), "y": random(2000, 2), "row": jnp.arange(7)}

    def temporary_bytes(estimator: str, steps: int) -> int:
        def outer(fast, slow, data):
            adapted, _ = bilevel.inner_loop(
                smooth_loss,
                fast,
                slow,
                data,
                optimizer=optax.sgd(0.4),
                steps=steps,
                estimator=bilevel.ESTIMATORS[estimator],
            )
            return smooth_loss(adapted, slow, data)[0]

        program = jax.jit(jax.grad(outer, argnums=(0, 1))).lower(fast, slow, wide).compile()
        return program.memory_analysis().temp_size_in_bytes

    inputs = 2 * 8 * flat(fast).size
    assert temporary_bytes("exact", 32) < 1.01 * temporary_bytes("exact", 2) + 30 * inputs
    assert temporary_bytes("reverse", 32) > 5 * temporary_bytes("reverse", 2)


def test_clipping_by_task_equals_clipping_each_task_by_its_global_norm():
    tasks = {"scale": random(3, 5), "bias": random(3, 2, 4, seed=1)}
    tasks = jax.tree.map(
        lambda leaf: leaf * jnp.asarray([0.01, 1.0, 5.0]).reshape(3, *[1] * (leaf.ndim - 1)), tasks
    )
    clipped, _ = bilevel.clip_by_task_norm(0.5).update(tasks, optax.EmptyState())
    clip = optax.clip_by_global_norm(0.5)
    for index in range(3):
        alone = jax.tree.map(lambda leaf: leaf[index], tasks)  # noqa: B023
        expected, _ = clip.update(alone, clip.init(alone))
        actual = jax.tree.map(lambda leaf: leaf[index], clipped)  # noqa: B023
        assert relative_error(actual, expected) < 1e-14


def test_clipping_equals_that_of_optax():
    for size in (0.01, 5.0):
        updates = {"scale": size * random(3, 5), "bias": size * random(2, seed=1)}
        clip = optax.clip_by_global_norm(0.5)
        actual, _ = bilevel.clip_by_norm(0.5).update(updates, optax.EmptyState())
        assert relative_error(actual, clip.update(updates, clip.init(updates))[0]) < 1e-14


@pytest.mark.parametrize("clip", [bilevel.clip_by_task_norm, bilevel.clip_by_norm])
def test_clipping_has_finite_derivatives_where_the_gradient_is_zero(clip):
    def summed(updates):
        return clip(0.5).update(updates, optax.EmptyState())[0].sum()

    np.testing.assert_array_equal(jax.grad(summed)(jnp.zeros((2, 3))), 1)


def squares_loop(start, estimator, steps: int, **options):
    """The inner loop of a loss of squares."""
    return bilevel.inner_loop(
        lambda fast, slow, data: (jnp.square(fast).sum(), ()),
        start,
        (),
        (),
        optimizer=optax.sgd(0.1),
        steps=steps,
        estimator=estimator,
        **options,
    )


@pytest.mark.parametrize("estimator", [bilevel.implicit, bilevel.reptile])
def test_what_looks_at_the_end_alone_has_no_derivative_of_the_way(estimator):
    with pytest.raises(ValueError, match="trajectory"):
        squares_loop(jnp.ones(2), estimator, steps=2, trajectory=True)


def test_without_a_step_the_implicit_gradient_is_that_of_the_start():
    def outer(start):
        return jnp.square(squares_loop(start, bilevel.implicit, steps=0)[0]).sum()

    np.testing.assert_allclose(jax.grad(outer)(jnp.array([2.0, 3.0])), [4, 6])


def test_truncated_multiplies_the_last_jacobians_only():
    rate, steps, last = 0.3, 4, 2
    estimator = functools.partial(bilevel.truncated, last=last)
    actual, adapted, hessian, _, _, objective = quadratic_gradient(estimator, steps, rate)
    powers = [np.linalg.matrix_power(np.eye(4) - rate * hessian, t) for t in range(last + 1)]
    difference = adapted - objective
    np.testing.assert_allclose(actual[0], powers[last] @ difference, rtol=1e-12)
    np.testing.assert_allclose(actual[1], rate * sum(powers[:last]) @ difference, rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
def test_truncated_to_all_steps_is_exact_and_to_none_first_order(steps):
    for last, other in ((steps, "exact"), (steps + 2, "exact"), (0, "first_order")):
        estimator = functools.partial(bilevel.truncated, last=last)
        actual = quadratic_gradient(estimator, steps)[0]
        expected = quadratic_gradient(bilevel.ESTIMATORS[other], steps)[0]
        assert relative_error(actual, expected) < 1e-13


def test_ablations_keep_one_product_each():
    rate, steps = 0.3, 3
    exact, adapted, _, _, _, objective = quadratic_gradient(bilevel.exact, steps, rate)
    hessian_only = quadratic_gradient(bilevel.hessian_only, steps, rate)[0]
    mixed_only = quadratic_gradient(bilevel.mixed_only, steps, rate)[0]
    np.testing.assert_allclose(hessian_only[0], exact[0], rtol=1e-12)
    np.testing.assert_array_equal(hessian_only[1], 0)
    np.testing.assert_allclose(mixed_only[0], adapted - objective, rtol=1e-12)
    np.testing.assert_allclose(mixed_only[1], steps * rate * (adapted - objective), rtol=1e-12)


def test_reptile_is_start_minus_end_over_the_number_of_tasks():
    actual, adapted, _, fast, _, _ = quadratic_gradient(bilevel.reptile, 3, tasks=5)
    np.testing.assert_allclose(actual[0], (fast - adapted) / 5, rtol=1e-12)
    np.testing.assert_array_equal(actual[1], 0)


@pytest.mark.parametrize("damping", [0.5, 2.0])
def test_implicit_equals_the_exact_linear_solve(damping):
    """Run to the solution of the proximal problem, where its gradient is that of the solution."""
    estimator = functools.partial(bilevel.implicit, damping=damping, solver_steps=50)
    actual, adapted, hessian, fast, slow, objective = quadratic_gradient(estimator, 300, rate=0.1)
    system = np.eye(4) + hessian / damping
    np.testing.assert_allclose(adapted, np.linalg.solve(system, fast + slow / damping), rtol=1e-10)
    expected = np.linalg.solve(system, adapted - objective)
    np.testing.assert_allclose(actual[0], expected, rtol=1e-8)
    np.testing.assert_allclose(actual[1], expected / damping, rtol=1e-8)


def test_implicit_at_the_solution_equals_finite_differences_on_a_nonlinear_loss():
    damping = 3.0
    estimator = functools.partial(bilevel.implicit, damping=damping, solver_steps=100)

    def outer(point):
        fast, _ = bilevel.inner_loop(
            smooth_loss,
            point["fast"],
            point["slow"],
            examples(3),
            optimizer=optax.sgd(0.03),
            steps=1000,
            estimator=estimator,
        )
        return smooth_loss(fast, point["slow"], examples(4))[0]

    point = initial_point()
    del point["rate"]
    gradient = jax.jit(jax.grad(outer))(point)
    direction = tiny.like(point, seed=5)
    expected = central_difference(jax.jit(outer), point, direction, 1e-4)
    assert flat(gradient) @ flat(direction) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("estimator", ["reptile", "implicit"])
def test_estimators_that_look_at_the_end_only_give_the_rate_no_gradient(estimator):
    gradient = outer_gradient(initial_point(), estimator=estimator, steps=2)
    assert gradient["rate"] == 0
    assert np.abs(flat(gradient["fast"])).max() > 0


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("estimator", bilevel.ESTIMATORS)
def test_steps_that_are_not_taken_change_nothing(estimator, unroll):
    fast, slow = start()

    def query(fast, active_steps, steps):
        adapted, _ = bilevel.inner_loop(
            smooth_loss,
            fast,
            slow,
            examples(3),
            optimizer=OPTIMIZERS["momentum"](0.1),
            steps=steps,
            estimator=bilevel.ESTIMATORS[estimator],
            unroll=unroll,
            active_steps=active_steps,
        )
        return smooth_loss(adapted, slow, examples(4))[0]

    gradient = jax.jit(jax.grad(query), static_argnums=2)
    if estimator == "truncated":  # its last step is never taken here
        expected = jax.jit(jax.grad(query), static_argnums=(1, 2))(fast, None, 2)
        assert relative_error(gradient(fast, jnp.int32(2), 2), expected) < 1e-13
        return
    expected = gradient(fast, None, 2)
    assert relative_error(gradient(fast, jnp.int32(2), 4), expected) < 1e-12


@pytest.mark.parametrize("estimator", ["exact", "reverse", "first_order"])
def test_trajectory_holds_the_parameters_after_every_step_with_their_gradients(estimator):
    fast, slow = start()

    def query(fast, step, steps, trajectory):
        adapted, metrics = bilevel.inner_loop(
            smooth_loss,
            fast,
            slow,
            examples(3),
            optimizer=optax.sgd(0.4),
            steps=steps,
            estimator=bilevel.ESTIMATORS[estimator],
            trajectory=trajectory,
        )
        if trajectory:
            adapted = jax.tree.map(lambda leaf: leaf[step], metrics["fast"])
        return smooth_loss(adapted, slow, examples(4))[0]

    for step in range(3):
        actual = jax.jit(jax.grad(query), static_argnums=(1, 2, 3))(fast, step, 3, True)
        expected = jax.jit(jax.grad(query), static_argnums=(1, 2, 3))(fast, step, step + 1, False)
        assert relative_error(actual, expected) < 1e-13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        (
            {"estimator": functools.partial(bilevel.truncated, last=-2)},
            "last must be 0 or more, got -2",
        ),
        (
            {"estimator": functools.partial(bilevel.implicit, damping=0.0)},
            "damping must be above 0, got 0.0",
        ),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        adapt(*start(), optax.sgd(0.1), **{"steps": 2, **options})


def test_a_value_that_needs_a_gradient_must_be_an_argument_of_the_loss():
    """`exact` says so; `reverse` alone differentiates what the loss closes over."""
    fast, slow = start()

    def query(scale, estimator):
        def scaled(fast, slow, data):
            loss, aux = smooth_loss(fast, slow, data)
            return scale * loss, aux

        options = {"optimizer": optax.sgd(0.4), "steps": 2, "estimator": estimator}
        adapted, _ = bilevel.inner_loop(scaled, fast, slow, examples(3), **options)
        return smooth_loss(adapted, slow, examples(4))[0]

    assert jax.grad(query)(1.0, bilevel.reverse) != 0
    with pytest.raises(Exception, match="closed-over value"):
        jax.grad(query)(1.0, bilevel.exact)
