"""The PyTorch step that benchmarks/against_pytorch.py times is the same step: float64, tiny."""

from __future__ import annotations

import functools
import importlib

import jax
import numpy as np
import optax
import pytest

import tiny
from derivatives import relative_error
from metastyle_jax import bilevel
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_loss, style_tasks
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask

pytestmark = pytest.mark.usefixtures("float64")

OBJECTIVE = perceptual.Objective(
    style_layers=("relu1_2", "relu2_2"),
    style_weight=2.0,
    normalize=True,
)
RATE = 0.1


@pytest.fixture(scope="module")
def step(torch_reference):
    """The PyTorch side of the benchmark; `torch_reference` skips where there is no torch."""
    del torch_reference
    return importlib.import_module("benchmarks.pytorch_step")


@pytest.fixture
def case(step):
    """(params, batch, feature network), and the same as tensors."""
    import torch

    params = tiny.parameters()
    names = ("styles", "support", "query")
    batch = {name: tiny.images(2, 16, 20, seed=seed) for seed, name in enumerate(names)}
    network = tiny.feature_network(OBJECTIVE.layers)
    place = step.Placement(dtype=torch.float64)
    tensors = {name: place.parameters(tree) for name, tree in params.items()}
    images = {name: place.images(array) for name, array in batch.items()}
    return (params, batch, network), (tensors, images, place.parameters(network.weights))


@functools.cache
def outer_gradient(estimator: str):
    """(params, batch, feature network) -> (outer loss, its gradient) by this project."""
    loop = InnerLoop(estimator=bilevel.ESTIMATORS[estimator], unroll=True)

    def loss_fn(params, batch, network):
        task = StyleTask(OBJECTIVE, network)
        parameters, images = MetaParameters(**params), Batch(**batch)
        return outer_loss.meta_loss(parameters, images, task, loop, optax.sgd(RATE))[0]

    return jax.jit(jax.value_and_grad(loss_fn))


def adaptation_loss(params, batch, network):
    """The loss that `style_adaptation.adaptation_step` descends, of the first style."""
    targets = perceptual.style_targets(OBJECTIVE, network, batch["styles"][:1])
    task = StyleTask(OBJECTIVE, network)
    data = style_tasks.content_data(task, batch["support"], targets)
    return style_tasks.inner_loss(params, {}, data)[0]


def problem(step):
    layers = OBJECTIVE.style_layers
    return step.Problem(style_layers=layers, style_weight=OBJECTIVE.style_weight, rate=RATE)


@pytest.mark.parametrize("inner", ["second_order", "first_order"])
def test_outer_step_of_pytorch_has_our_loss_and_gradient(step, case, inner):
    mine, (tensors, images, network) = case
    estimator = "first_order" if inner == "first_order" else "exact"
    expected_loss, expected = outer_gradient(estimator)(*mine)
    step.trainable(tensors, "weights", "style")
    loss = step.meta_loss(problem(step), network, tensors, images, getattr(step, inner))
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected_loss, rtol=1e-12)
    assert relative_error(step.gradients(tensors), expected) < 1e-10


def test_adaptation_of_pytorch_has_our_loss_and_gradient(step, case):
    mine, (tensors, images, network) = case
    expected_loss, expected = jax.jit(jax.value_and_grad(adaptation_loss))(*mine)
    step.trainable(tensors, "weights", "style")
    styles = step.style_targets(problem(step), network, images["styles"][:1])
    loss = step.adaptation_loss(problem(step), network, tensors, images["support"], styles)
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected_loss, rtol=1e-12)
    assert relative_error(step.gradients(tensors), expected) < 1e-10
