"""Both wrappers on several virtual devices against the same step on one device."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

import tiny
from metastyle_jax import bilevel
from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_step, task_gradients
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Axes
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.runtime import sharding

LAYERS = ("relu1_1", "relu1_2")
STYLES, CONTENTS, SIZE = 4, 2, 16

pytestmark = pytest.mark.usefixtures("float64")


OBJECTIVE = perceptual.Objective(
    content_layers=("relu1_2",), style_layers=LAYERS, style_weight=10.0
)


def make_step(axes: Axes, rate: float = 1.0, combine: str = task_gradients.MEAN):
    return functools.partial(
        outer_step.train_step,
        loop=InnerLoop(estimator=bilevel.exact, optimizer=lambda step, rates: optax.sgd(0.1)),
        # plain descent: the parameters then show the gradient itself
        outer_optimizer=optax.sgd(rate),
        axes=axes,
        combine=combine,
    )


def make_arguments():
    state = outer_step.init_state(tiny.meta_parameters(residual_blocks=0), optax.sgd(1.0))
    batch = tiny.batch(STYLES, CONTENTS, SIZE, SIZE)
    task = StyleTask(OBJECTIVE, tiny.feature_network(LAYERS), noise=0.05, rewrite=False)
    return state, jax.device_get(batch), task


@functools.cache
def single_device_steps():
    """(state, metrics) of the first step and of the second."""
    state, batch, task = make_arguments()
    step, found = jax.jit(make_step(outer_step.ONE_DEVICE)), []
    for _ in range(2):
        state, metrics = step(state, batch, task)
        found.append(jax.device_get((state, metrics)))
    return found


# several styles for each device, one for each as most users have it, and contents split too
@pytest.mark.parametrize(
    "kind, parts",
    [
        ("shard_map", sharding.Layout(STYLES // 2)),
        ("pmap", sharding.Layout(STYLES // 2)),
        ("shard_map", sharding.Layout(STYLES)),
        ("shard_map", sharding.Layout(STYLES // 2, CONTENTS)),
    ],
)
def test_equals_the_single_device_step_and_moves_nothing(kind, parts):
    """Once its arguments are placed, a step transfers no array between host and devices."""
    state, batch, task = make_arguments()
    devices = jax.devices()[: parts.styles * parts.contents]
    wrapped = sharding.parallelize(make_step(parts.axes), kind=kind, devices=devices, parts=parts)
    current, task = wrapped.replicate(state), wrapped.replicate(task)
    placed = wrapped.place_batch(batch)
    for expected, expected_metrics in single_device_steps():
        # virtual devices on few cores can deadlock with a step still in flight
        with jax.transfer_guard("disallow"):
            current, metrics = jax.block_until_ready(wrapped.step(current, placed, task))
        found, metrics = jax.device_get((current, metrics))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), found, expected
        )
        for name in ("outer_loss", "outer_style", "inner_loss_0", "gradient_norm_weights"):
            np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-9)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params, found.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
    # the guard is armed: with a batch or task still on the host it refuses
    for host in ((jax.device_get(placed), task), (placed, jax.device_get(task))):
        with (
            jax.transfer_guard("disallow"),
            pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device"),
        ):
            wrapped.step(current, *host)


@pytest.mark.parametrize("estimator", [bilevel.reverse, bilevel.truncated, bilevel.reptile])
def test_an_inner_loop_sees_the_contents_of_all_devices(estimator):
    """Two steps, whose second one starts where the contents of all devices led."""
    state, batch, task = make_arguments()
    loop = InnerLoop(
        steps=2, estimator=estimator, optimizer=lambda step, rates: optax.sgd(0.1), unroll=True
    )
    step = functools.partial(outer_step.train_step, loop=loop, outer_optimizer=optax.sgd(1.0))
    expected = jax.device_get(jax.jit(step)(state, batch, task)[0].params)
    parts = sharding.Layout(1, 2)
    step = functools.partial(step, axes=parts.axes)
    wrapped = sharding.parallelize(step, kind="shard_map", devices=jax.devices()[:2], parts=parts)
    arguments = wrapped.replicate(state), wrapped.place_batch(batch), wrapped.replicate(task)
    reached = jax.device_get(jax.block_until_ready(wrapped.step(*arguments))[0].params)
    check = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(check, reached, expected)
    # the second step is no small matter
    assert (
        np.abs(expected.weights["conv1"]["kernel"] - state.params.weights["conv1"]["kernel"]).max()
        > 1e-4
    )


def test_normalized_gradients_are_those_of_single_styles_brought_to_one_size():
    """By numpy from single gradients; on one device, and on four that split styles and contents."""
    state, batch, task = make_arguments()
    # the styles must matter, and differ
    task = dataclasses.replace(task, objective=dataclasses.replace(OBJECTIVE, style_weight=1e6))
    shades = np.linspace(0.1, 1, STYLES).reshape(-1, 1, 1, 1)
    batch = batch.replace(styles=batch.styles * shades)
    loop = make_step(outer_step.ONE_DEVICE).keywords["loop"]
    single = jax.jit(functools.partial(outer_step.outer_gradient, loop=loop))
    gradients = [
        jax.device_get(
            single(
                state.params,
                state.step,
                batch.replace(styles=batch.styles[n : n + 1]),
                task,
                first_style=n,
            )[0]
        )
        for n in range(STYLES)
    ]

    def combine(*leaves):
        sizes = [np.sqrt(np.mean(leaf**2)) for leaf in leaves]
        mean = np.mean([leaf / max(s, 1e-9) for leaf, s in zip(leaves, sizes, strict=True)], axis=0)
        return mean * np.mean(sizes)

    gradient = jax.tree.map(combine, *gradients)
    expected = jax.tree.map(lambda leaf, g: np.asarray(leaf) - g, state.params, gradient)
    plain = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *gradients)
    for parts in (sharding.Layout(1), sharding.Layout(STYLES // 2, CONTENTS)):
        devices = jax.devices()[: parts.styles * parts.contents]
        step = make_step(parts.axes, combine=task_gradients.NORMALIZED)
        wrapped = sharding.parallelize(step, kind="shard_map", devices=devices, parts=parts)
        arguments = wrapped.replicate(state), wrapped.place_batch(batch), wrapped.replicate(task)
        found = jax.device_get(jax.block_until_ready(wrapped.step(*arguments))[0].params)
        check = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-11)
        jax.tree.map(check, found, expected)
    kernel = gradient.weights["conv1"]["kernel"], plain.weights["conv1"]["kernel"]
    assert np.linalg.norm(kernel[0] - kernel[1]) > 0.05 * np.linalg.norm(kernel[1])


def test_contents_are_split_where_styles_do_not_suffice():
    assert sharding.layout(8, 3, 4) == (4, 1)
    assert sharding.layout(4, 4, 8) == (4, 2)
    assert sharding.layout(6, 2, 4) == (2, 2)
    assert sharding.layout(1, 4, 4) == (1, 4)
    with pytest.raises(
        UserError, match=r"batch\.styles=3 and config\.batch\.contents=3 .* 2 devices"
    ):
        sharding.layout(3, 3, 2)
    with pytest.raises(UserError, match="pmap cannot split contents"):
        sharding.parallelize(
            make_step(outer_step.ONE_DEVICE),
            kind="pmap",
            devices=jax.devices()[:2],
            parts=sharding.Layout(1, 2),
        )


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(UserError, match="shard_map or pmap"):
        sharding.parallelize(lambda *args: args, kind="pjit", devices=jax.devices()[:1])
