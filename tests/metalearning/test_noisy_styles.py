"""Noise on the parameters of styles in training: where it lies, what is drawn, its derivative."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from configs import smoke
from derivatives import central_difference, flat
from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_loss, outer_step, schedule
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import Schedule
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import style_noise, stylization_network
from metastyle_jax.settings import configuration, construction

pytestmark = pytest.mark.usefixtures("float64")

OBJECTIVE = perceptual.Objective(
    content_layers=("relu1_2",), style_layers=("relu1_1",), content_weight=1.0, style_weight=1.5
)
DEVIATION = 0.2
STEP = 5
SCHEDULE = Schedule(seed=3)
RATE = 0.05


def case(deviation: float | None = DEVIATION) -> tuple[MetaParameters, Batch, StyleTask]:
    """Two styles and two contents."""
    features = tiny.feature_network(OBJECTIVE.layers, pooling="average")
    task = StyleTask(OBJECTIVE, features, style_noise=deviation)
    return tiny.meta_parameters(residual_blocks=0), tiny.batch(2, 2), task


def loop(steps: int) -> InnerLoop:
    return InnerLoop(steps=steps, optimizer=lambda step, rates: optax.sgd(RATE))


def gram(x: np.ndarray) -> np.ndarray:
    columns = x.reshape(-1, x.shape[-1])
    return columns.T @ columns / columns.size


@jax.jit
def draw(weights, style, content: jax.Array) -> jax.Array:
    return stylization_network.stylize(weights, style, content)


def recomputed(part: int, contents: jax.Array) -> float:
    """Mean loss over styles and contents without inner steps; part 0 is the support."""
    params, batch, task = case()
    losses = []
    for s, style_image in enumerate(batch.styles):
        key = jax.random.fold_in(jax.random.key(SCHEDULE.seed), 3)
        key = jax.random.fold_in(jax.random.fold_in(key, STEP), s)
        for b, content in enumerate(contents):
            of_sample = jax.random.split(jax.random.fold_in(key, b))[part]
            style = style_noise.add_noise(of_sample, params.style, DEVIATION)
            drawn = draw(params.weights, style, content[None])
            seen, wanted, example = (
                jax.tree.map(lambda x: np.asarray(x[0]), task.network.extract(x, OBJECTIVE.layers))
                for x in (drawn, content[None], style_image[None])
            )
            losses.append(
                np.square(seen["relu1_2"] - wanted["relu1_2"]).mean()
                + 1.5 * np.square(gram(seen["relu1_1"]) - gram(example["relu1_1"])).mean()
            )
    return float(np.mean(losses))


def gradient(steps: int, deviation: float | None = DEVIATION):
    params, batch, task = case(deviation)
    return jax.jit(
        lambda params: outer_step.outer_gradient(
            params, jnp.int32(STEP), batch, task, loop=loop(steps), schedule=SCHEDULE
        )
    )(params)


def test_inner_and_outer_loss_have_other_noise_for_each_sample():
    _, batch, _ = case()
    metrics = gradient(0)[1]
    assert float(metrics["outer_loss"]) == pytest.approx(recomputed(1, batch.query), rel=1e-9)
    metrics = gradient(1)[1]
    assert float(metrics["inner_loss_0"]) == pytest.approx(recomputed(0, batch.support), rel=1e-9)
    quiet = gradient(1, deviation=None)[1]
    for name in ("inner_loss_0", "outer_loss"):
        assert abs(float(metrics[name]) - float(quiet[name])) > 1e-3


def test_the_gradient_through_an_inner_step_is_that_of_the_loss():
    params, batch, task = case()
    keys = schedule.draw_style_keys(SCHEDULE, jnp.int32(STEP), (2, 2))
    scheduled = schedule.Scheduled(style_keys=keys)

    def value(params: MetaParameters) -> jax.Array:
        return outer_loss.meta_loss(params, batch, task, loop(1), optax.sgd(RATE), scheduled)[0]

    found, _ = gradient(1)
    direction = tiny.like(params, seed=5)
    expected = float(central_difference(jax.jit(value), params, direction, 1e-8))
    assert abs(expected) > 1e-3
    assert flat(found) @ flat(direction) == pytest.approx(expected, rel=1e-6)


def test_keys_are_a_function_of_seed_step_style_and_content():
    def numbers(seed: int, step: int, counts: tuple[int, int], *first: int) -> np.ndarray:
        keys = schedule.draw_style_keys(Schedule(seed=seed), jnp.int32(step), counts, *first)
        return np.asarray(jax.random.key_data(keys))

    one = numbers(3, 7, (4, 2))
    assert one.shape[:3] == (2, 4, 2)
    np.testing.assert_array_equal(one, numbers(3, 7, (4, 2)))
    every = [one, numbers(3, 8, (4, 2)), numbers(4, 7, (4, 2))]
    assert len(np.unique(np.concatenate(every, axis=1).reshape(48, -1), axis=0)) == 48
    # a device draws what one device alone would draw for its styles and contents
    np.testing.assert_array_equal(numbers(3, 7, (2, 2), 2), one[:, 2:])
    np.testing.assert_array_equal(numbers(3, 7, (2, 1), 2, 1), one[:, 2:, 1:])


def test_previews_have_no_such_noise():
    def preview(deviation: float | None):
        params, batch, task = case(deviation)
        return jax.jit(
            lambda params: outer_loss.preview(params, batch, task, loop(1), optax.sgd(RATE))
        )(params)

    jax.tree.map(np.testing.assert_array_equal, preview(DEVIATION), preview(None))


def test_the_setting():
    config = smoke.get_config()
    features = tiny.feature_network(("relu1_1",))
    for value, expected in ((0.0, None), (0.3, 0.3)):
        config.model.style_noise = value
        task = construction.make_task(configuration.read(config), features)
        assert task.style_noise == expected
    config.inner.subset = "all"
    with pytest.raises(UserError, match=r"config\.model\.style_noise moves .*subset='norm'"):
        configuration.read(config)
    config.model.style_noise = -0.1
    with pytest.raises(UserError, match=r"config\.model\.style_noise must be between 0"):
        configuration.read(config)
