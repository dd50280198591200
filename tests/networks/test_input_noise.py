"""Noise on the contents: its spectrum, and who sees it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import schedule, style_tasks
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.input_noise import LONGEST, add_noise

OBJECTIVE = perceptual.Objective(content_layers=("relu1_2",), style_layers=("relu1_1", "relu1_2"))


def noise_alone(count: int, height: int, width: int, deviation: float = 0.05) -> np.ndarray:
    gray = jnp.full((count, height, width, 3), 0.5)
    return np.asarray(add_noise(jax.random.key(0), gray, deviation), np.float64) - 0.5


def test_has_the_deviation_asked_for_and_is_gray_and_each_images_own():
    noise = noise_alone(3, 48, 64)
    np.testing.assert_allclose(noise.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(noise.std(axis=(1, 2)), 0.05, rtol=1e-4)
    np.testing.assert_array_equal(noise[..., 0], noise[..., 2])
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.5


def test_amplitude_falls_with_the_square_of_the_frequency():
    height, width = 48, 64
    power = (np.abs(np.fft.fft2(noise_alone(200, height, width)[..., 0])) ** 2).mean(axis=0)
    expected = np.array(
        [
            [(r**2 + c**2 + LONGEST**-2) ** -2 for c in np.fft.fftfreq(width)]
            for r in np.fft.fftfreq(height)
        ]
    )
    power[0, 0] = expected[0, 0] = 1
    ratio = power / expected
    ratio[0, 0] = np.median(ratio)
    # each a mean of 200 variables, with a deviation of 7 to 10 % of it
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=0.5)


def test_stays_within_pictures_and_none_is_none():
    images = jnp.asarray(tiny.images(2, 16, 20), jnp.float32)
    np.testing.assert_array_equal(add_noise(jax.random.key(0), images, 0.0), images)
    loud = np.asarray(add_noise(jax.random.key(0), images, 1.0))
    assert loud.dtype == np.float32 and loud.min() == 0 and loud.max() == 1


def test_adaptation_compares_drawings_of_noisy_contents_with_clean_contents(float64):
    params, features = tiny.parameters(residual_blocks=0), tiny.feature_network(OBJECTIVE.layers)
    style, contents = tiny.images(1, 16, 16, seed=1), tiny.images(2, 16, 16, seed=2)
    targets = jax.jit(lambda style: perceptual.style_targets(OBJECTIVE, features, style))(style)

    def measured(noise: float) -> float:
        parts = style_adaptation.evaluate_batch(
            params, contents, targets, features, objective=OBJECTIVE, noise=noise
        )
        return float(parts["loss"])

    @jax.jit
    def written_out(drawn_from: jax.Array) -> jax.Array:
        outputs = stylization_network.stylize(params["weights"], params["style"], drawn_from)
        wanted = perceptual.content_targets(OBJECTIVE, features, contents)
        tiled = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), targets)
        return perceptual.perceptual_loss(OBJECTIVE, features, outputs, wanted, tiled)[0].mean()

    assert measured(0.0) == pytest.approx(float(written_out(contents)), rel=1e-12)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), style_tasks._INPUT_NOISE)
    noisy = add_noise(key, jnp.asarray(contents), 0.1)
    assert measured(0.1) == pytest.approx(float(written_out(noisy)), rel=1e-12)
    assert abs(measured(0.1) - measured(0.0)) > 1e-6


def test_training_draws_new_noise_in_each_step_and_for_support_and_query():
    features = tiny.feature_network(OBJECTIVE.layers)
    noisy, quiet = (StyleTask(OBJECTIVE, features, noise) for noise in (0.05, None))
    images = jnp.asarray(tiny.images(2, 16, 16))
    batch = Batch(styles=images, support=images, query=images)

    def drawn(task: StyleTask, step: int) -> list[np.ndarray]:
        at_step = schedule.at_step(
            schedule.CONSTANT, jnp.int32(step), inner_steps=1, random=task.random
        )
        both = style_tasks.support_and_query(task, batch, key=at_step.key)
        for data in both:  # what they are compared with has none
            jax.tree.map(np.testing.assert_array_equal, data.content_targets, clean)
        return [np.asarray(data.contents) for data in both]

    clean = perceptual.content_targets(OBJECTIVE, features, images)
    first, again, second = drawn(noisy, 3), drawn(noisy, 3), drawn(noisy, 4)
    np.testing.assert_array_equal(first, again)
    different = [(first[0], first[1]), (first[0], second[0]), (first[1], second[1])]
    for one, other in different:
        assert np.abs(one - other).max() > 0.02
    with pytest.raises(ValueError, match="needs a key"):
        style_tasks.support_and_query(noisy, batch)
    for contents in drawn(quiet, 3):
        np.testing.assert_array_equal(contents, images)
