"""The meta-gradient of MetaStyle itself, in float64 on a tiny network with real ReLUs.

Expectations: finite differences, reverse-over-reverse, a loop over styles, and an independent
implementation of the whole step in PyTorch (`create_graph=True`).
"""

from __future__ import annotations

import dataclasses
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
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_loss, outer_step, style_tasks
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import Schedule, Scheduled
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import stylization_network

pytestmark = pytest.mark.usefixtures("float64")

OBJECTIVE = perceptual.Objective(
    content_layers=("relu2_2",),
    style_layers=("relu1_2", "relu2_2"),
    style_weight=20.0,
)
# the two inner subsets, each with another pooling and number of steps
LOOPS = {"norm": InnerLoop(subset="norm", steps=2), "all": InnerLoop(subset="all", steps=1)}
POOLING = {"norm": "average", "all": "max"}
RATE = 0.05


def case(subset: str = "norm") -> tuple[MetaParameters, Batch, StyleTask]:
    """A light and a dark style, two contents of each kind."""
    # for "all", the larger program, without a residual block: a quarter less to compile
    params = tiny.meta_parameters(residual_blocks=1 if subset == "norm" else 0)
    light_and_dark = jnp.asarray([1.0, 0.3])[:, None, None, None]
    batch = tiny.batch(contents=2)
    batch = batch.replace(styles=light_and_dark * batch.styles)
    network = tiny.feature_network(OBJECTIVE.layers, pooling=POOLING[subset])
    return params, batch, StyleTask(OBJECTIVE, network)


def direct(task: StyleTask) -> StyleTask:
    """The same with plain convolutions."""
    return task.replace(rewrite=False)


@functools.cache
def compiled(loop: InnerLoop):
    """(params, batch, task, inner rate, factor) -> ((loss, metrics), gradient)."""

    def loss_fn(params, batch, task, rate, style_factor):
        scheduled = Scheduled(style_factor=style_factor)
        return outer_loss.meta_loss(params, batch, task, loop, optax.sgd(rate), scheduled)

    return jax.jit(jax.value_and_grad(loss_fn, has_aux=True))


def value_and_gradient(
    loop: InnerLoop, *arguments: Any, rate: float = RATE, style_factor: float = 1.0
):
    return compiled(loop)(*arguments, rate, style_factor)


@functools.cache
def value(loop: InnerLoop):
    def loss_fn(params, batch, task):
        return outer_loss.meta_loss(params, batch, task, loop, optax.sgd(RATE))[0]

    return jax.jit(loss_fn)


def with_estimator(loop: InnerLoop, name: str, **options: Any) -> InnerLoop:
    return dataclasses.replace(loop, estimator=bilevel.ESTIMATORS[name], **options)


@pytest.mark.parametrize("subset", LOOPS)
def test_exact_equals_reverse_over_reverse(subset):
    """The oracle also runs its convolutions directly, and for "norm" its steps unrolled."""
    loop = LOOPS[subset]
    (loss, _), exact = value_and_gradient(loop, *case(subset))
    oracle = with_estimator(loop, "reverse", unroll=subset == "norm")
    params, batch, task = case(subset)
    (expected_loss, _), expected = value_and_gradient(oracle, params, batch, direct(task))
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-11)
    assert relative_error(exact, expected) < 1e-9


@pytest.mark.parametrize("subset", LOOPS)
def test_meta_gradient_equals_finite_differences(subset):
    """Of the loss with unrolled steps.

    Where ReLU and maximum have kinks the inner gradient, hence the outer loss, jumps: the steps are
    so small that none is crossed, and what float64 then leaves is the tolerance.
    """
    params, *rest = case(subset)
    _, gradient = value_and_gradient(LOOPS[subset], params, *rest)
    unrolled = dataclasses.replace(LOOPS[subset], unroll=True)
    for part in ("weights", "style"):
        nothing = jax.tree.map(jnp.zeros_like, params)
        direction = nothing.replace(**{part: tiny.like(getattr(params, part), seed=5)})
        expected = central_difference(
            lambda params: value(unrolled)(params, *rest), params, direction, 1e-8
        )
        actual = flat(gradient) @ flat(direction)
        assert actual == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("subset", LOOPS)
def test_meta_gradient_equals_that_of_an_independent_pytorch_step(torch_reference, subset):
    loop = LOOPS[subset]
    params, batch, task = case(subset)
    (loss, _), gradient = value_and_gradient(loop, params, batch, task)
    expected_loss, expected = torch_reference.meta_gradient(
        params.network,
        vars(batch),
        task.network.weights,
        architecture="compact",
        pooling=task.network.pooling,
        subset=subset,
        steps=loop.steps,
        rate=RATE,
        content_layers=OBJECTIVE.content_layers,
        style_layers=OBJECTIVE.style_layers,
        style_weight=OBJECTIVE.style_weight,
    )
    assert float(loss) == pytest.approx(expected_loss, rel=1e-10)
    for part in ("weights", "style"):
        assert relative_error(gradient.network[part], expected[part]) < 1e-8


def test_styles_folded_into_one_batch_equal_a_loop_over_styles():
    """For subset "all" the loop is the code itself, and the PyTorch step loops for both."""
    loop = LOOPS["norm"]
    params, batch, task = case()
    (loss, metrics), gradient = value_and_gradient(loop, params, batch, task)
    single = [
        value_and_gradient(loop, params, batch.replace(styles=batch.styles[s : s + 1]), task)
        for s in range(2)
    ]
    losses = [float(value[0]) for value, _ in single]
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-12)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *(gradient for _, gradient in single))
    assert relative_error(gradient, mean) < 1e-11
    for name in metrics:
        values = [float(value[1][name]) for value, _ in single]
        if name == "inner_gradient_norm":
            expected = np.sqrt(np.mean(np.square(values)))
        else:
            expected = np.mean(values)
        assert float(metrics[name]) == pytest.approx(expected, rel=1e-11), name


def test_first_order_has_the_loss_of_exact_and_another_gradient():
    loop = LOOPS["norm"]
    (exact_loss, _), exact = value_and_gradient(loop, *case())
    approximate = with_estimator(loop, "first_order")
    (loss, _), first = value_and_gradient(approximate, *case())
    assert float(loss) == pytest.approx(float(exact_loss), rel=1e-12)
    assert relative_error(first, exact) > 1e-3
    _, exact = value_and_gradient(loop, *case(), rate=0.0)
    _, first = value_and_gradient(approximate, *case(), rate=0.0)
    assert relative_error(first, exact) < 1e-11


def test_metrics_are_the_losses_before_and_after_adaptation():
    loop = LOOPS["norm"]
    params, batch, task = case()
    (loss, metrics), _ = value_and_gradient(loop, params, batch, task)
    assert set(metrics) == {
        "outer_loss",
        "outer_content",
        "outer_style",
        "inner_loss_0",
        "inner_loss_1",
        "inner_gradient_norm",
    }
    assert float(metrics["outer_loss"]) == float(loss)
    parts = metrics["outer_content"] + metrics["outer_style"]
    assert float(parts) == pytest.approx(float(loss), rel=1e-12)
    assert metrics["inner_loss_1"] < metrics["inner_loss_0"]
    # the first inner loss is that of the shared start on the support contents
    swapped = batch.replace(query=batch.support)
    start = value(dataclasses.replace(loop, steps=0))(params, swapped, task)
    assert float(metrics["inner_loss_0"]) == pytest.approx(float(start), rel=1e-12)


def test_preview_shows_the_first_query_before_and_after_the_inner_loop():
    loop = dataclasses.replace(LOOPS["norm"], steps=1)
    params, batch, task = case()
    show = jax.jit(lambda *arguments: outer_loss.preview(*arguments, loop, optax.sgd(RATE)))
    before, after = show(params, batch, task)
    assert before.shape == after.shape == (2, 16, 16, 3)
    stylize = jax.jit(stylization_network.stylize)
    expected = stylize(params.weights, params.style, batch.query[:1])
    np.testing.assert_allclose(before, np.concatenate([expected] * 2), atol=1e-12)
    difference = np.abs(np.asarray(after - before)).max((1, 2, 3))
    assert (difference > 2e-5).all()
    assert np.abs(after[0] - after[1]).max() > 2e-5


def test_train_step_is_one_step_of_the_outer_optimizer_on_the_meta_gradient():
    """The compiled step takes its own result, without grouped convolutions and scatters."""
    loop = LOOPS["norm"]
    params, batch, task = case()
    optimizer = promoting(optax.adam(0.1, eps=1e-3))
    step = functools.partial(
        outer_step.train_step,
        loop=dataclasses.replace(
            loop, optimizer=lambda step, rates: optax.sgd(RATE / (1 + step.astype("float64")))
        ),
        schedule=Schedule(style_warmup=4),
        outer_optimizer=optimizer,
    )
    start = outer_step.init_state(params, optimizer)
    assert int(start.step) == 0
    start = start.replace(step=jnp.asarray(3, jnp.int32))
    program = jax.jit(step).lower(start, batch, task).compile()
    state, metrics = program(start, batch, task)
    # at step 3 the inner rate is a quarter and the style counts three quarters
    (loss, _), gradient = value_and_gradient(
        loop, params, batch, task, rate=RATE / 4, style_factor=0.75
    )
    # the first step of Adam (Kingma & Ba 2015): the corrected moments are g and g^2
    expected = jax.tree.map(lambda x, g: x - 0.1 * g / (abs(g) + 1e-3), params, gradient)
    np.testing.assert_allclose(flat(state.params), flat(expected), atol=1e-8)
    assert float(metrics["outer_loss"]) == pytest.approx(float(loss), rel=1e-11)
    for part in ("weights", "style"):
        norm = np.linalg.norm(flat(getattr(gradient, part)))
        assert float(metrics[f"gradient_norm_{part}"]) == pytest.approx(norm, rel=1e-10)

    # refuses a state of other shapes or types than the first
    state, metrics = program(state, batch, task)
    assert state.step.dtype == jnp.int32
    assert int(state.step) == 5
    assert np.isfinite(flat(metrics)).all()

    text = program.as_text()
    assert "convolution(" in text
    assert "feature_group_count" not in text
    assert "batch_group_count" not in text
    assert "select-and-scatter(" not in text


def test_style_factor_multiplies_the_scale_of_style_targets_only():
    _, batch, task = case()
    make = jax.jit(lambda factor: style_tasks.support_and_query(task, batch, factor))
    whole, part = make(1.0), make(0.25)
    for one, other in zip(whole, part, strict=True):
        for layer in OBJECTIVE.style_layers:
            np.testing.assert_array_equal(other.style_targets[layer]["scale"], [0.25, 0.25])
            other.style_targets[layer]["scale"] = one.style_targets[layer]["scale"]
    np.testing.assert_array_equal(flat(part), flat(whole))


@pytest.mark.parametrize("subset", LOOPS)
def test_train_step_stays_in_single_precision(subset):
    with jax.enable_x64(False):
        params, batch, task = case()
        optimizer = promoting(optax.adam(1e-3))
        state, metrics = jax.eval_shape(
            functools.partial(
                outer_step.train_step,
                loop=dataclasses.replace(
                    LOOPS[subset],
                    optimizer=lambda step, rates: optax.sgd(RATE / (1 + step.astype("float32"))),
                ),
                outer_optimizer=optimizer,
            ),
            outer_step.init_state(params, optimizer),
            batch,
            task,
        )
    types = {leaf.dtype for leaf in jax.tree.leaves((state.params, metrics))}
    assert types == {np.dtype(np.float32)}
