"""Every option of the inner loop: exact equals reverse-over-reverse and finite differences.

On a network, features and images as small as they get, in float64.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tiny
from configs import default
from derivatives import central_difference, flat, promoting, relative_error
from metastyle_jax import bilevel
from metastyle_jax.bilevel import learned_rates
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_loss, schedule, subsets
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import Scheduled
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.settings import construction

pytestmark = pytest.mark.usefixtures("float64")

OBJECTIVE = perceptual.Objective(
    content_layers=("relu1_2",),
    style_layers=("relu1_1",),
    style_weight=10.0,
)
LOOP = InnerLoop(steps=2, unroll=True)
RATE = 0.02
PATTERNS = "style/up*,style/conv1_norm/scale"


def make_case(subset: str = "norm", kind: str = "", steps: int = 2):
    params = tiny.meta_parameters(width=2, residual_blocks=0)
    if kind:
        fast, _ = subsets.split(params.network, subset)
        rates = learned_rates.init(kind, fast, steps)
        # not ones, so that no multiplier can be mistaken for another
        rates = jax.tree.map(lambda a, b: a + 0.2 * b, rates, tiny.like(rates))
        params = params.replace(inner_rates=rates)
    network = tiny.feature_network(OBJECTIVE.layers, pooling="average")
    return params, tiny.batch(), StyleTask(OBJECTIVE, network, rewrite=False)


def adapted_loss(loop, params, batch, task, *, optimizer="sgd", kind="", clip=None, **options):
    parts = [bilevel.clip_by_task_norm(clip)] if clip else []
    rates = {
        "sgd": optax.sgd(RATE),
        "momentum": optax.sgd(RATE, momentum=0.8),
        "adam": promoting(optax.adam(RATE, eps=1e-3, eps_root=1e-8)),
    }
    parts.append(rates[optimizer])
    if kind:
        parts.append(learned_rates.scale_by_multipliers(kind, params.inner_rates))
    scheduled = Scheduled(**options)
    return outer_loss.meta_loss(params, batch, task, loop, optax.chain(*parts), scheduled)[0]


# several options at once: each program takes seconds to compile
OPTIONS: dict[str, dict[str, Any]] = {
    "momentum, clipping, one learned rate": {"optimizer": "momentum", "clip": 0.05, "kind": "one"},
    "adam, a rate per parameter, one of two steps": {
        "optimizer": "adam",
        "kind": "parameter",
        "active_steps": 1,
    },
    "part of the style, a rate per layer and step, multi-step loss": {
        "subset": PATTERNS,
        "kind": "layer_step",
        "step_weights": (0.3, 0.7),
    },
    "part of the weights, momentum": {
        "subset": "weights/conv4/*,style/up2_norm/*",
        "optimizer": "momentum",
    },
    "all, a rate per layer": {"subset": "all", "kind": "layer"},
}


# the longest ones
SLOW = (
    "momentum, clipping, one learned rate",
    "part of the style, a rate per layer and step, multi-step loss",
    "adam, a rate per parameter, one of two steps",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in OPTIONS],
)
def test_exact_equals_reverse_and_finite_differences(name):
    options = dict(OPTIONS[name])
    subset = options.pop("subset", "norm")
    params, *data = make_case(subset, options.get("kind", ""))
    if "active_steps" in options:
        options["active_steps"] = jnp.int32(options["active_steps"])
    if "step_weights" in options:
        options["step_weights"] = jnp.asarray(options["step_weights"])

    def value(estimator):
        loop = dataclasses.replace(LOOP, subset=subset, estimator=estimator)
        return lambda params: adapted_loss(loop, params, *data, **options)

    exact = jax.jit(jax.grad(value(bilevel.exact)))(params)
    reverse = jax.jit(jax.grad(value(bilevel.reverse)))(params)
    assert relative_error(exact, reverse) < 1e-10
    for name, part in exact.parts().items():
        assert np.linalg.norm(flat(part)) > 0, name
    direction = tiny.like(params, seed=4)
    expected = central_difference(jax.jit(value(bilevel.exact)), params, direction, 1e-8)
    assert flat(exact) @ flat(direction) == pytest.approx(float(expected), rel=1e-6)


@pytest.fixture(scope="module")
def exact_loss():
    """A function, as the fixtures of single tests set the precision."""
    computed = []

    def compute() -> float:
        if not computed:
            params, *data = make_case()
            computed.append(float(jax.jit(lambda p: adapted_loss(LOOP, p, *data))(params)))
        return computed[0]

    return compute


@pytest.mark.parametrize(
    "estimator", ["truncated", "reptile", "implicit", "hessian_only", "mixed_only"]
)
def test_estimators_have_one_loss_and_finite_gradients(exact_loss, estimator):
    """But for `implicit`, whose inner loss has a proximal term."""
    params, *data = make_case()
    loop = dataclasses.replace(LOOP, estimator=bilevel.ESTIMATORS[estimator])
    loss_fn = jax.jit(jax.value_and_grad(lambda params: adapted_loss(loop, params, *data)))
    loss, gradient = loss_fn(params)
    for part in gradient.parts().values():
        assert np.isfinite(flat(part)).all()
        assert np.linalg.norm(flat(part)) > 0
    if estimator != "implicit":
        assert float(loss) == pytest.approx(exact_loss(), rel=1e-12)


def test_reptile_averages_over_styles():
    params, batch, task = make_case()
    loop = dataclasses.replace(LOOP, estimator=bilevel.reptile)

    @jax.jit
    def gradient(styles):
        point = batch.replace(styles=styles)
        return jax.grad(lambda params: adapted_loss(loop, params, point, task))(params)

    both = gradient(batch.styles).style
    single = [gradient(batch.styles[i : i + 1]).style for i in range(2)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *single)
    assert relative_error(both, mean) < 1e-11


def leaf_names(tree: Any) -> list[str]:
    return [
        "/".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def test_split_takes_patterns_and_join_undoes_it():
    params = tiny.parameters(width=2, residual_blocks=1)
    for subset in ("norm", "all", PATTERNS, "weights/conv?/kernel, style/*"):
        fast, slow = subsets.split(params, subset)
        assert not set(leaf_names(fast)) & set(leaf_names(slow))
        joined = subsets.join(fast, slow)
        assert jax.tree.structure(joined) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, joined, params)
    fast, _ = subsets.split(params, PATTERNS)
    assert leaf_names(fast) == [
        "style/conv1_norm/scale",
        *(f"style/up{i}_norm/{leaf}" for i in (1, 2) for leaf in ("bias", "scale")),
    ]
    assert [subsets.folds(name) for name in ("norm", "all", PATTERNS, "style/*,weights/*")] == [
        True,
        False,
        True,
        False,
    ]
    with pytest.raises(ValueError, match="no parameter is called 'weights/conv9/\\*'"):
        subsets.split(params, "style/*,weights/conv9/*")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("one", 2.0), ("layer", 3.0), ("layer_step", 5.0), ("parameter", [7.0, 11.0])],
)
def test_multipliers_scale_stacked_gradients(kind, expected):
    fast = {"style": {"a_norm": {"scale": jnp.ones(2)}}}
    multipliers = learned_rates.init(kind, fast, steps=2)
    assert flat(multipliers).tolist() == [1.0] * flat(multipliers).size
    value = {"layer_step": [0.5, 5.0]}.get(kind, expected)
    multipliers = jax.tree.map(lambda leaf: jnp.asarray(value), multipliers)
    transformation = learned_rates.scale_by_multipliers(kind, multipliers)
    gradient = {"style": {"a_norm": {"scale": jnp.asarray([[1.0, 2.0], [3.0, 4.0]])}}}
    state = transformation.init(gradient)
    _, state = transformation.update(gradient, state)
    scaled, _ = transformation.update(gradient, state)  # the second step
    np.testing.assert_array_equal(
        scaled["style"]["a_norm"]["scale"], np.asarray([[1.0, 2.0], [3.0, 4.0]]) * expected
    )


def test_random_steps_are_uniform_and_depend_on_the_step_alone():
    random = schedule.Schedule(random_steps=True)
    draw = jax.jit(jax.vmap(lambda step: schedule.active_steps(random, step, 4)))
    drawn = np.asarray(draw(jnp.arange(2000)))
    counts = np.bincount(drawn, minlength=5)
    assert counts[0] == 0
    assert counts.size == 5
    # four standard deviations of a binomial number
    np.testing.assert_allclose(counts[1:], 500, atol=4 * np.sqrt(2000 * 0.25 * 0.75))
    np.testing.assert_array_equal(drawn[:10], draw(jnp.arange(10)))
    other = dataclasses.replace(random, seed=1)
    assert (
        drawn[:100] != jax.vmap(lambda s: schedule.active_steps(other, s, 4))(jnp.arange(100))
    ).any()
    assert schedule.active_steps(schedule.CONSTANT, jnp.int32(0), 4) is None


def test_multi_step_weights_go_over_to_the_last_step():
    moving = schedule.Schedule(multi_step=10)
    for step, expected in ((0, [0.25] * 4), (5, [0.125] * 3 + [0.625]), (10, [0, 0, 0, 1])):
        weights = schedule.multi_step_weights(moving, jnp.int32(step), 4)
        np.testing.assert_allclose(weights, expected, atol=1e-15)
    np.testing.assert_allclose(
        schedule.multi_step_weights(moving, jnp.int32(99), 4), [0, 0, 0, 1], atol=1e-15
    )


def test_settings_make_what_they_name():
    config = default.get_config()
    config.outer.estimator, config.outer.truncation = "truncated", 3
    assert construction.make_estimator(config).keywords == {"last": 3}
    config.outer.estimator = "implicit"
    config.outer.implicit_damping = 0.5
    assert construction.make_estimator(config).keywords == {"damping": 0.5, "solver_steps": 10}
    config.outer.estimator = "hessian_only"
    assert construction.make_estimator(config) is bilevel.hessian_only
