"""Moving averages of the layers' losses: the formula by hand, and constants in the gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metastyle_jax.losses import moving_averages, perceptual

pytestmark = pytest.mark.usefixtures("float64")

OBJECTIVE = perceptual.Objective(content_layers=("relu3_3",), style_layers=("relu2_2", "relu3_3"))
NAMES = ("content_relu3_3", "style_relu2_2", "style_relu3_3")


def flat(averages) -> list[float]:
    return [float(averages[name.split("_", 1)[0]][name.split("_", 1)[1]]) for name in NAMES]


def test_averages_and_factors_by_hand():
    losses = np.random.default_rng(0).uniform(size=(4, 3)) * [1, 1e-3, 1e3]
    averages = moving_averages.init(OBJECTIVE)
    assert flat(moving_averages.factors(averages)) == [1, 1, 1]
    for number, row in enumerate(losses, 1):
        averages = moving_averages.update(averages, dict(zip(NAMES, row, strict=True)), 0.9)
        # the weighted mean of all losses so far, with weights that sum to 1
        weights = 0.9 ** np.arange(number)[::-1]
        means = weights @ losses[:number] / weights.sum()
        np.testing.assert_allclose(
            flat(moving_averages.factors(averages)), means.sum() / means, rtol=1e-12
        )


def test_factors_are_constants_and_a_layer_without_loss_keeps_its_own():
    averages = jax.tree.map(lambda _: jnp.ones(()), moving_averages.init(OBJECTIVE))
    gradient = jax.grad(lambda a: moving_averages.factors(a)["style"]["relu2_2"])(averages)
    assert flat(gradient) == [0, 0, 0]
    averages["style"]["relu2_2"] = jnp.zeros(())
    assert flat(moving_averages.factors(averages)) == [2, 1, 2]


def test_emphasis_is_the_factor_times_the_weight_of_each_sample():
    averages = {"content": {"relu3_3": 2.0}, "style": {"relu2_2": 1.0, "relu3_3": 5.0}}
    factors = moving_averages.factors(jax.tree.map(jnp.asarray, averages))
    alpha = jnp.asarray([[0.1, 0.2], [0.3, 1.0]])
    found = moving_averages.emphasis(OBJECTIVE, factors, alpha)
    np.testing.assert_allclose(found["content"]["relu3_3"], 4)
    np.testing.assert_allclose(found["style"]["relu2_2"], [0.8, 2.4])
    np.testing.assert_allclose(found["style"]["relu3_3"], [0.32, 1.6])
    without = moving_averages.emphasis(OBJECTIVE, None, alpha)
    np.testing.assert_allclose(without["style"]["relu3_3"], [0.2, 1.0])
    assert moving_averages.emphasis(OBJECTIVE, None, None) is None
