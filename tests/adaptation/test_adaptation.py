"""Adaptation against Adam written out."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import numpy as np
import optax
import pytest

import tiny
from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.losses import perceptual
from metastyle_jax.networks import stylization_network

OBJECTIVE = perceptual.Objective(content_layers=("relu1_2",), style_layers=("relu1_1", "relu1_2"))


def written_out(params, style_image, contents, features, settings, moves):
    """Adam on the mean perceptual loss of a batch; {name in params} of `moves` move.

    The last convolution at a tenth of the rate.
    """
    targets = perceptual.style_targets(settings.objective, features, style_image[None])

    def loss_fn(fast):
        now = {**params, **fast}
        outputs = stylization_network.stylize(now["weights"], now["style"], contents)
        wanted = perceptual.content_targets(settings.objective, features, contents)
        total = 0.0
        for i in range(len(contents)):
            one = jax.tree.map(lambda leaf: leaf[i : i + 1], wanted)  # noqa: B023
            total += perceptual.perceptual_loss(
                settings.objective, features, outputs[i : i + 1], one, targets
            )[0].sum()
        return total / len(contents)

    optimizer = optax.adam(settings.learning_rate)
    fast = {name: params[name] for name in moves}
    state = optimizer.init(fast)
    losses = []
    for _ in range(settings.steps):
        loss, gradient = jax.value_and_grad(loss_fn)(fast)
        updates, state = optimizer.update(gradient, state, fast)
        if "weights" in fast:  # nothing normalizes what the last convolution does
            last = {name: 0.1 * leaf for name, leaf in updates["weights"]["conv4"].items()}
            updates["weights"] = {**updates["weights"], "conv4": last}
        fast = optax.apply_updates(fast, updates)
        losses.append(float(loss))
    return {**params, **fast}, losses


@pytest.mark.parametrize(("parameters", "moves"), [("norm", ("style",)), ("all", None)])
def test_equals_adam_written_out(float64, standard_promotion, parameters, moves) -> None:
    params = tiny.parameters()
    features = tiny.feature_network(OBJECTIVE.layers)
    style_image, contents = tiny.images(1, 24, 32, seed=1)[0], tiny.images(2, 16, 16, seed=2)
    settings = style_adaptation.AdaptationSettings(
        objective=OBJECTIVE, steps=3, learning_rate=2**-7, parameters=parameters
    )
    result = style_adaptation.adapt(
        params, style_image, itertools.repeat(contents), features, settings
    )
    expected, losses = written_out(
        params, style_image, contents, features, settings, moves or tuple(params)
    )
    np.testing.assert_allclose([each["loss"] for each in result.history], losses, rtol=1e-10)
    # not biases: where the next norm removes one, its gradient is rounding, which Adam scales up
    for path, leaf in jax.tree_util.tree_leaves_with_path(result.params):
        if path[-1].key != "bias":
            reached = functools.reduce(lambda tree, key: tree[key.key], path, expected)
            np.testing.assert_allclose(leaf, reached, atol=1e-10, err_msg=str(path))
    if parameters == "norm":
        assert result.params["weights"] is params["weights"]


def test_a_sweep_over_ten_style_weights_and_noises_compiles_nothing_new(
    standard_promotion, programs
):
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), tiny.parameters(residual_blocks=0))
    features = tiny.feature_network(OBJECTIVE.layers, dtype=np.float32)
    style_image = np.asarray(tiny.images(1, 24, 32, seed=1)[0], np.float32)
    contents = np.asarray(tiny.images(1, 16, 16, seed=2), np.float32)

    def adapted(weight: float) -> np.ndarray:
        settings = style_adaptation.AdaptationSettings(
            objective=dataclasses.replace(OBJECTIVE, style_weight=weight),
            steps=2,
            noise=0.01 * weight,
        )
        batches = itertools.repeat(contents)
        result = style_adaptation.adapt(params, style_image, batches, features, settings)
        return result.params["style"]["conv1_norm"]["scale"]

    first = adapted(1.0)
    compiled = programs()
    assert compiled > 0
    last = [adapted(float(weight)) for weight in range(2, 11)][-1]
    assert programs() == compiled
    assert np.abs(last - first).max() > 1e-6
