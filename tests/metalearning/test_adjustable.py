"""Adjustable style transfer in the outer step: an independent NumPy recomputation, derivatives."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from derivatives import central_difference, flat, promoting, relative_error
from metastyle_jax import bilevel
from metastyle_jax.losses import moving_averages, perceptual
from metastyle_jax.metalearning import outer_loss, outer_step, schedule
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import Schedule
from metastyle_jax.metalearning.structures import Axes, Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import adjuster, predictor, stylization_network
from metastyle_jax.runtime import sharding

pytestmark = pytest.mark.usefixtures("float64")

LAYERS = ("relu1_1", "relu1_2")
OBJECTIVE = perceptual.Objective(
    content_layers=("relu1_2",),
    style_layers=LAYERS,
    content_weight=1.0,
    style_weight=1.5,
    style_layer_weights=(1.0, 0.5),
)
DECAY = 0.7
SCHEDULE = Schedule(average_decay=DECAY, seed=3)
LOOP = InnerLoop(steps=0)


def case(styles: int = 2) -> tuple[MetaParameters, Batch, StyleTask]:
    """An adjuster and a predictor whose every number is random; two contents."""
    params = tiny.meta_parameters(residual_blocks=0)
    parts = {
        "adjuster": adjuster.init(jax.random.key(1), params.style, inputs=2, hidden=4, layers=2),
        "predictor": predictor.init(jax.random.key(0), params.style, inputs=2 * 48, hidden=3),
    }
    parts = {
        name: jax.tree.map(lambda x, d: x + 0.2 * d, part, tiny.like(part))
        for name, part in parts.items()
    }
    features = tiny.feature_network(OBJECTIVE.layers, pooling="average")
    return params.replace(**parts), tiny.batch(styles, 2), StyleTask(OBJECTIVE, features)


def start(params: MetaParameters, optimizer) -> outer_step.TrainState:
    return outer_step.init_state(params, optimizer, moving_averages.init(OBJECTIVE))


def gram(x: np.ndarray) -> np.ndarray:
    columns = x.reshape(-1, x.shape[-1])
    return columns.T @ columns / columns.size


@jax.jit
def draw(params: MetaParameters, style, alpha: jax.Array, content: jax.Array) -> jax.Array:
    style = adjuster.adjust(params.adjuster, alpha, style)
    return stylization_network.stylize(params.weights, style, content)


def recomputed(params: MetaParameters, batch: Batch, task: StyleTask, step: int):
    """Errors (S, B, 1 + L) of each sample, content first, and alpha (S, B, L)."""
    _, alpha = schedule.draw_alpha(SCHEDULE, jnp.int32(step), (2, 2, 2))
    starts = outer_loss.predicted_styles(params, batch, task)
    errors = np.zeros((2, 2, 3))
    for s, b in np.ndindex(2, 2):
        style = {
            name: {part: leaf[s] for part, leaf in layer.items()} for name, layer in starts.items()
        }
        drawn = draw(params, style, alpha[s, b][None], batch.query[b : b + 1])
        seen, wanted, example = (
            jax.tree.map(lambda x: np.asarray(x[0]), task.network.extract(images, LAYERS))
            for images in (drawn, batch.query[b : b + 1], batch.styles[s : s + 1])
        )
        errors[s, b, 0] = np.square(seen["relu1_2"] - wanted["relu1_2"]).mean()
        for number, layer in enumerate(LAYERS, 1):
            difference = gram(seen[layer]) - gram(example[layer])
            errors[s, b, number] = np.square(difference).mean()
    return errors, np.asarray(alpha)


def test_the_normalized_loss_over_several_steps_equals_a_recomputation():
    params, batch, task = case()
    optimizer = optax.sgd(1e-2)
    state = start(params, optimizer)
    step = jax.jit(
        functools.partial(
            outer_step.train_step, loop=LOOP, outer_optimizer=optimizer, schedule=SCHEDULE
        )
    )
    means = np.zeros(3)
    for number in range(3):
        errors, alpha = recomputed(state.params, batch, task, number)
        factors = means.sum() / means if number else np.ones(3)
        weighted = errors * factors
        style = 1.5 * (weighted[..., 1:] * alpha * [1.0, 0.5]).sum(axis=-1)
        state, metrics = step(state, batch, task)
        assert float(metrics["outer_content"]) == pytest.approx(weighted[..., 0].mean(), rel=1e-9)
        assert float(metrics["outer_style"]) == pytest.approx(style.mean(), rel=1e-9)
        expected = weighted[..., 0].mean() + style.mean()
        assert float(metrics["outer_loss"]) == pytest.approx(expected, rel=1e-9)
        means = DECAY * means + (1 - DECAY) * errors.mean(axis=(0, 1))
        found = [state.averages["content"]["relu1_2"], *state.averages["style"].values()]
        np.testing.assert_allclose(found, means, rtol=1e-9)
    assert np.ptp(factors) > 1  # the layers' losses differ, so that the factors matter


def averages() -> moving_averages.Averages:
    return {
        "content": {"relu1_2": jnp.asarray(2.0)},
        "style": {"relu1_1": jnp.asarray(0.1), "relu1_2": jnp.asarray(0.03)},
    }


def value(params: MetaParameters, loop: InnerLoop = LOOP) -> jax.Array:
    """The loss at step 5 with the factors as numbers."""
    _, batch, task = case()
    alpha = schedule.draw_alpha(SCHEDULE, jnp.int32(5), (2, 2, 2))
    factors = {"content": {"relu1_2": 1.065}, "style": {"relu1_1": 21.3, "relu1_2": 71.0}}
    scheduled = schedule.Scheduled(alpha=alpha, factors=factors)
    optimizer = loop.optimizer(jnp.int32(5), None)
    _, metrics = outer_loss.meta_loss(params, batch, task, loop, optimizer, scheduled)
    return metrics["outer_loss"]


def gradient_at(params: MetaParameters, loop: InnerLoop, chosen: Schedule = SCHEDULE):
    """The meta-gradient at step 5, and the metrics."""
    _, batch, task = case()
    return jax.jit(
        lambda params: outer_step.outer_gradient(
            params,
            jnp.int32(5),
            batch,
            task,
            loop=loop,
            schedule=chosen,
            averages=averages(),
        )
    )(params)


def test_the_gradient_is_that_of_the_loss_with_constant_factors():
    params, _, _ = case()
    gradient, _ = gradient_at(params, LOOP)
    compiled = jax.jit(value)
    nothing = jax.tree.map(jnp.zeros_like, params)
    for part in ("adjuster", "weights"):
        direction = nothing.replace(**{part: tiny.like(getattr(params, part), seed=5)})
        expected = float(central_difference(compiled, params, direction, 1e-8))
        assert abs(expected) > 1e-3
        assert flat(gradient) @ flat(direction) == pytest.approx(expected, rel=1e-5)
    for layer in gradient.adjuster.values():
        assert np.abs(layer["kernel"]).max() > 0


SLIDERS = InnerLoop(
    subset="sliders", steps=2, unroll=True, optimizer=lambda step, rates: optax.sgd(1e-2)
)


def test_through_steps_of_the_sliders_the_averages_are_constants():
    """Each style has a last kernel of its own; factors do not follow the inner losses."""
    params, _, _ = case()
    gradient, metrics = gradient_at(params, SLIDERS)
    compiled = jax.jit(functools.partial(value, loop=SLIDERS))
    nothing = jax.tree.map(jnp.zeros_like, params)
    for part in ("adjuster", "predictor"):
        direction = nothing.replace(**{part: tiny.like(getattr(params, part), seed=5)})
        expected = float(central_difference(compiled, params, direction, 1e-8))
        # the distance to the mean prediction is no part of `value`
        found = flat(gradient) @ flat(direction)
        assert abs(expected) > 1e-3
        assert found == pytest.approx(expected, rel=1e-5)
    assert metrics["inner_loss_1"] < metrics["inner_loss_0"]


def test_each_style_has_sliders_for_itself():
    """What one style reaches does not depend on the others of the step."""
    params, batch, task = case()
    alpha = schedule.draw_alpha(SCHEDULE, jnp.int32(5), (2, 2, 2))

    @jax.jit
    def losses(params, batch, alpha):
        scheduled = schedule.Scheduled(alpha=alpha)
        optimizer = SLIDERS.optimizer(jnp.int32(5), None)
        loss, _ = outer_loss.meta_loss(params, batch, task, SLIDERS, optimizer, scheduled)
        return loss

    params = params.replace(predictor=None)
    both = losses(params, batch, alpha)
    alone = [
        losses(params, batch.replace(styles=batch.styles[s : s + 1]), alpha[:, s : s + 1])
        for s in range(2)
    ]
    assert float(both) == pytest.approx(float(sum(alone)) / 2, rel=1e-9)
    assert float(alone[0]) != pytest.approx(float(alone[1]), rel=1e-6)


def test_what_the_outer_optimizer_does_not_move_has_no_gradient():
    params, _, _ = case()
    everything, alone = (
        gradient_at(params, LOOP, Schedule(average_decay=DECAY, seed=3, subset=subset))[0]
        for subset in ("all", "adjuster/*")
    )
    np.testing.assert_allclose(flat(alone.adjuster), flat(everything.adjuster), rtol=1e-9)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(alone.replace(adjuster=None)))
    assert np.abs(flat(everything.replace(adjuster=None))).max() > 0


def test_momentum_of_another_subset_moves_nothing(monkeypatch):
    """Of a run that is resumed with another `outer.subset`."""
    params, batch, task = case()
    ones = jax.tree.map(jnp.ones_like, params)
    frozen = jax.tree.map(jnp.zeros_like, params).replace(adjuster=ones.adjuster)
    momentum = promoting(optax.adam(1e-2))
    _, moments = momentum.update(ones, momentum.init(params), params)
    monkeypatch.setattr(outer_step, "outer_gradient", lambda *args, **keywords: (frozen, {}))
    state = outer_step.TrainState(jnp.int32(1), params, moments, None)
    after, _ = outer_step.train_step(
        state,
        batch,
        task,
        loop=LOOP,
        outer_optimizer=momentum,
        schedule=Schedule(subset="adjuster/*"),
    )
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, params)
    assert all(jax.tree.leaves(moved.adjuster))
    assert not any(jax.tree.leaves(moved.replace(adjuster=None)))


@pytest.mark.slow
def test_through_an_inner_step_the_gradient_equals_reverse_over_reverse():
    params, _, _ = case()

    def gradient(estimator):
        loop = InnerLoop(
            steps=1, estimator=estimator, optimizer=lambda step, rates: optax.sgd(1e-2)
        )
        return gradient_at(params, loop)[0]

    exact = gradient(bilevel.exact)
    assert relative_error(exact, gradient(bilevel.reverse)) < 1e-9
    without = gradient(bilevel.first_order)
    assert relative_error(exact.adjuster, without.adjuster) > 1e-6


def test_alpha_is_uniform_and_a_function_of_seed_step_and_style():
    counts = (3, 50, 4)
    one, again, later = (
        np.asarray(schedule.draw_alpha(SCHEDULE, jnp.int32(step), counts)) for step in (7, 7, 8)
    )
    assert one.shape == (2, 3, 50, 4)
    np.testing.assert_array_equal(one, again)
    other = np.asarray(schedule.draw_alpha(Schedule(seed=4), jnp.int32(7), counts))
    for different in (later, other, one[::-1], np.roll(one, 1, axis=1)):
        assert (one != different).all()
    assert one.min() >= 0 and one.max() <= 1
    # contents come in pairs of opposite weights
    half = one[:, :, ::2]
    np.testing.assert_allclose(half + one[:, :, 1::2], 1, rtol=1e-6)
    # as many in each tenth as in the others, within five standard deviations
    shares = np.histogram(half, bins=10, range=(0, 1))[0]
    expected = half.size / 10
    assert np.abs(shares - expected).max() < 5 * np.sqrt(0.9 * expected)
    # a device draws what one device alone would draw for its styles
    part = schedule.draw_alpha(SCHEDULE, jnp.int32(7), (1, 3, 4), first_style=1, first_content=5)
    np.testing.assert_array_equal(part[:, 0], one[:, 1, 5:8])


def test_two_devices_take_the_step_of_one():
    params, batch, task = case(styles=2)
    optimizer = optax.sgd(1.0)
    step = functools.partial(
        outer_step.train_step, loop=LOOP, outer_optimizer=optimizer, schedule=SCHEDULE
    )
    begun = start(params, optimizer).replace(averages=averages())
    expected, _ = jax.jit(step)(begun, batch, task)
    wrapped = sharding.parallelize(
        functools.partial(step, axes=Axes(sharding.AXIS)),
        kind="shard_map",
        devices=jax.devices()[:2],
    )
    found, _ = jax.block_until_ready(
        wrapped.step(
            wrapped.replicate(begun),
            wrapped.place_batch(jax.device_get(batch)),
            wrapped.replicate(task),
        )
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
        jax.device_get(found),
        jax.device_get(expected),
    )


def test_after_some_steps_each_weight_lowers_the_error_of_its_layer():
    """A bright content, a dark style. Only the adjuster moves: at first all weights draw alike."""
    params, batch, task = case(styles=1)
    params = params.replace(
        predictor=None,
        adjuster=adjuster.init(jax.random.key(1), params.style, inputs=2, hidden=16, layers=2),
    )
    batch = batch.replace(styles=0.3 * batch.styles, query=0.6 + 0.4 * batch.query)
    optimizer = optax.chain(promoting(optax.adam(3e-2)), optax.stateless(adjuster_alone))
    state = start(params, optimizer)
    step = jax.jit(
        functools.partial(
            outer_step.train_step, loop=LOOP, outer_optimizer=optimizer, schedule=SCHEDULE
        )
    )
    alphas = jnp.asarray([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    preview = jax.jit(outer_loss.preview_adjusted)

    def errors(params: MetaParameters) -> np.ndarray:
        drawn = task.network.extract(preview(params, batch, task, alphas)[0], LAYERS)
        wanted = task.network.extract(batch.styles, LAYERS)
        return np.array(
            [
                [np.square(gram(np.asarray(x)) - gram(np.asarray(wanted[name][0]))).mean()]
                for name in LAYERS
                for x in drawn[name]
            ]
        ).reshape(2, 4)

    low, high, *_ = errors(state.params).T
    np.testing.assert_array_equal(low, high)
    for _ in range(100):
        state, _ = step(state, batch, task)
    low, high, first, second = errors(state.params).T
    assert (high < 0.9 * low).all()
    assert first[0] < 0.95 * low[0] and second[1] < 0.95 * low[1]


def adjuster_alone(updates: MetaParameters, _: MetaParameters | None) -> MetaParameters:
    return jax.tree.map(jnp.zeros_like, updates).replace(adjuster=updates.adjuster)
