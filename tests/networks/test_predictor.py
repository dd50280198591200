"""The predictor of styles: by hand in NumPy, and as the start of the inner loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from derivatives import central_difference, relative_error
from metastyle_jax import bilevel
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_loss, style_tasks
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import predictor

pytestmark = pytest.mark.usefixtures("float64")

OBJECTIVE = perceptual.Objective(
    content_layers=("relu1_2",),
    style_layers=("relu1_1", "relu1_2"),
    style_weight=20.0,
    normalize=True,
)
INPUTS = 2 * (24 + 24)


def case() -> tuple[MetaParameters, Batch, StyleTask]:
    """Parameters with a predictor whose every number is random; two styles, one content."""
    params = tiny.meta_parameters()
    network = predictor.init(jax.random.key(0), params.style, inputs=INPUTS, hidden=3)
    noise = tiny.like(network)
    network = jax.tree.map(lambda x, d: x + 0.1 * d, network, noise)
    batch = tiny.batch().replace(styles=tiny.images(2, 12, 16, seed=1))
    features = tiny.feature_network(OBJECTIVE.layers, pooling="average")
    return params.replace(predictor=network), batch, StyleTask(OBJECTIVE, features, rewrite=False)


def test_the_predictor_may_look_with_features_of_its_own():
    params, batch, task = case()
    layers = task.objective.style_layers
    other = tiny.feature_network(layers, architecture="vgg16", pooling="max")
    network = predictor.init(jax.random.key(0), params.style, inputs=2 * (64 + 64), hidden=3)
    network = jax.tree.map(lambda x, d: x + 0.1 * d, network, tiny.like(network))
    found = outer_loss.predicted_styles(
        params.replace(predictor=network), batch, task.replace(predictor_network=other)
    )
    statistics = predictor.statistics(other.extract(batch.styles, layers))
    expected = predictor.predict(network, statistics, params.style)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def loss_of(steps: int, estimator=bilevel.exact):
    _, batch, task = case()
    loop = InnerLoop(steps=steps, estimator=estimator)

    def loss_fn(params):
        return outer_loss.meta_loss(params, batch, task, loop, optax.sgd(0.05))

    return loss_fn


def test_at_first_every_prediction_is_the_neutral_style():
    style = tiny.parameters()["style"]
    network = predictor.init(jax.random.key(1), style, inputs=5, hidden=4)
    found = predictor.predict(
        network, jnp.asarray(np.random.default_rng(0).normal(size=(3, 5))), style
    )
    jax.tree.map(
        lambda rows, leaf: np.testing.assert_array_equal(rows, np.stack([leaf] * 3)), found, style
    )


def test_prediction_and_statistics_by_hand():
    random = np.random.default_rng(0)
    features = {"a": random.uniform(size=(2, 3, 4, 5)), "b": random.uniform(size=(2, 2, 2, 6))}
    parts = []
    for x in features.values():
        columns = x.reshape(2, -1, x.shape[-1])
        parts += [columns.mean(axis=1), columns.std(axis=1)]
    inputs = np.log(np.concatenate(parts, axis=1) + predictor.EPSILON)
    found = predictor.statistics(jax.tree.map(jnp.asarray, features))
    np.testing.assert_allclose(found, inputs, rtol=1e-12)

    style = tiny.parameters()["style"]
    network = predictor.init(jax.random.key(1), style, inputs=22, hidden=4)
    network = jax.tree.map(lambda x, d: np.asarray(x + d), network, tiny.like(network))
    hidden = np.maximum(inputs @ network["hidden"]["kernel"] + network["hidden"]["bias"], 0)
    hidden *= predictor.OUTPUT_SCALE / 4  # by its units
    flat = hidden @ network["output"]["kernel"] + network["output"]["bias"]
    styles = predictor.predict(network, found, style)
    assert jax.tree.structure(styles) == jax.tree.structure(style)
    np.testing.assert_allclose(np.concatenate(jax.tree.leaves(styles), axis=1), flat, rtol=1e-12)


def test_the_distance_is_least_at_the_mean_and_moves_no_prediction():
    style, styles = tiny.parameters()["style"], [tiny.parameters(seed)["style"] for seed in (1, 2)]
    predicted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *styles)
    mean = jax.tree.map(lambda x: x.mean(axis=0), predicted)
    gradient = jax.grad(predictor.distance, argnums=(0, 1))
    at_mean, _ = gradient(mean, predicted)
    _, to_predictions = gradient(style, predicted)
    for leaf in jax.tree.leaves((at_mean, to_predictions)):
        np.testing.assert_allclose(leaf, 0, atol=1e-12)
    flat = np.concatenate(jax.tree.leaves(predicted), axis=1)
    expected = flat.var(axis=0).sum()
    assert predictor.distance(mean, predicted) == pytest.approx(expected, rel=1e-12)


def test_without_inner_steps_the_loss_is_that_of_the_predicted_styles():
    params, batch, task = case()
    _, metrics = loss_of(0)(params)
    styles = outer_loss.predicted_styles(params, batch, task)
    _, query = style_tasks.support_and_query(task, batch)
    _, parts = style_tasks.stylization_loss(params.weights, styles, query)
    assert float(metrics["outer_loss"]) == pytest.approx(float(parts["loss"].mean()), rel=1e-12)
    rows = np.concatenate(jax.tree.leaves(styles), axis=1)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3  # each style has its own


@pytest.mark.slow
def test_gradient_after_an_inner_step_equals_reverse_over_reverse():
    params, _, _ = case()
    exact = jax.jit(jax.grad(lambda p: loss_of(1)(p)[0]))(params)
    oracle = jax.jit(jax.grad(lambda p: loss_of(1, bilevel.reverse)(p)[0]))(params)
    assert relative_error(exact, oracle) < 1e-9
    assert np.abs(exact.predictor["hidden"]["kernel"]).max() > 0


def test_gradient_without_inner_steps_equals_finite_differences():
    params, _, _ = case()
    gradient = jax.jit(jax.grad(lambda p: loss_of(0)(p)[0]))(params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    direction = nothing.replace(predictor=tiny.like(params.predictor, seed=5))
    value = jax.jit(lambda p: loss_of(0)(p)[1]["outer_loss"])
    expected = central_difference(value, params, direction, 1e-6)
    slopes = jax.tree.map(lambda g, d: jnp.vdot(g, d), gradient.predictor, direction.predictor)
    assert float(sum(jax.tree.leaves(slopes))) == pytest.approx(float(expected), rel=1e-5)

    # the neutral style learns from its distance to the predictions alone
    _, batch, task = case()
    styles = outer_loss.predicted_styles(params, batch, task)
    alone = jax.grad(predictor.distance)(params.style, styles)
    alone = jax.tree.map(lambda x: outer_loss.DISTANCE_WEIGHT * x, alone)
    assert relative_error(gradient.style, alone) < 1e-10
