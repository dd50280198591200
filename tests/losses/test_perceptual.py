"""The perceptual objective against loops over pairs of styles and contents, and closed forms."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from metastyle_jax.losses import lattice, perceptual, style_losses

pytestmark = pytest.mark.usefixtures("float64")

LAYERS = ("relu1_2", "relu2_2")
OBJECTIVE = perceptual.Objective(
    content_layers=("relu2_2",),
    style_layers=LAYERS,
    content_weight=0.7,
    style_weight=30.0,
)
NORMALIZED = perceptual.Objective(**{**vars(OBJECTIVE), "normalize": True})


@functools.partial(jax.jit, static_argnums=0)
def loss(objective, network, outputs, contents, styles):
    """Targets and loss of `outputs` (S * B, ...) for S styles and B contents."""
    targets = perceptual.fold_targets(
        perceptual.content_targets(objective, network, contents),
        perceptual.style_targets(objective, network, styles),
        (styles.shape[0], contents.shape[0]),
    )
    return perceptual.perceptual_loss(objective, network, outputs, *targets)


content_targets = jax.jit(perceptual.content_targets, static_argnums=0)
style_targets = jax.jit(perceptual.style_targets, static_argnums=0)


def extract(network, images) -> dict[str, np.ndarray]:
    features = jax.jit(lambda network, x: network.extract(x, LAYERS))
    return {layer: np.asarray(x) for layer, x in features(network, images).items()}


def gram(x: np.ndarray) -> np.ndarray:
    return np.einsum("hwc,hwd->cd", x, x) / x.size


def case(styles: int, contents: int):
    network = tiny.feature_network(LAYERS)
    return (
        network,
        tiny.images(styles * contents, 12, 16, seed=1),
        tiny.images(contents, 12, 16, seed=2),
        # a style image of another size than the contents
        tiny.images(styles, 20, 18, seed=3),
    )


def scaled(network, factor: float):
    """A network whose features are `factor` times those of `network`: ReLU is homogeneous."""
    weights = network.weights
    result = {name: {**layer, "bias": factor * layer["bias"]} for name, layer in weights.items()}
    result["conv1_1"]["kernel"] = factor * result["conv1_1"]["kernel"]
    return dataclasses.replace(network, weights=result)


def test_targets_are_features_of_contents_and_gram_matrices_of_styles():
    network, _, contents, styles = case(2, 3)
    targets = content_targets(OBJECTIVE, network, contents)
    assert set(targets) == {"relu2_2"}
    expected = extract(network, contents)["relu2_2"]
    np.testing.assert_allclose(targets["relu2_2"]["features"], expected, rtol=1e-12)
    np.testing.assert_array_equal(targets["relu2_2"]["scale"], np.ones(3))

    targets = style_targets(OBJECTIVE, network, styles)
    assert set(targets) == set(LAYERS)
    for layer, features in extract(network, styles).items():
        expected = [gram(x) for x in features]
        np.testing.assert_allclose(targets[layer]["statistics"], expected, rtol=1e-12)
        np.testing.assert_array_equal(targets[layer]["scale"], np.ones(2))


def test_folding_tiles_contents_and_repeats_styles():
    contents = {"relu1_1": {"scale": jnp.asarray([1, 2, 3])}}
    styles = {"relu1_1": {"scale": jnp.asarray([10, 20])}}
    folded = perceptual.fold_targets(contents, styles, (2, 3))
    np.testing.assert_array_equal(folded[0]["relu1_1"]["scale"], [1, 2, 3, 1, 2, 3])
    np.testing.assert_array_equal(folded[1]["relu1_1"]["scale"], [10, 10, 10, 20, 20, 20])


@pytest.mark.parametrize("objective", [OBJECTIVE, NORMALIZED], ids=["raw", "normalized"])
def test_folded_pairs_equal_a_loop_over_styles_and_contents(objective):
    network, outputs, contents, styles = case(2, 3)
    total, parts = loss(objective, network, outputs, contents, styles)
    seen, wanted, painted = (extract(network, x) for x in (outputs, contents, styles))

    def relative(error: float, target: np.ndarray) -> float:
        return error / np.square(target).mean() if objective.normalize else error

    expected_content, expected_style = [], []
    for s in range(2):
        for b in range(3):
            n = 3 * s + b
            target = wanted["relu2_2"][b]
            error = np.square(seen["relu2_2"][n] - target).mean()
            expected_content.append(0.7 * relative(error, target))
            style = 0.0
            for layer in LAYERS:
                target = gram(painted[layer][s])
                style += relative(np.square(gram(seen[layer][n]) - target).mean(), target)
            expected_style.append(30 * style)
    np.testing.assert_allclose(parts["content"], expected_content, rtol=1e-11)
    np.testing.assert_allclose(parts["style"], expected_style, rtol=1e-11)
    np.testing.assert_allclose(total, np.add(expected_content, expected_style), rtol=1e-11)


def test_parts_vanish_where_they_should():
    network, _, contents, _ = case(1, 2)
    _, parts = loss(OBJECTIVE, network, contents, contents, contents[:1])
    np.testing.assert_allclose(parts["content"], [0, 0], atol=1e-20)
    # the first output is the style image itself
    np.testing.assert_allclose(parts["style"][0], 0, atol=1e-20)
    assert parts["style"][1] > 1e-3


def test_scaling_all_features_leaves_the_normalized_loss_and_multiplies_the_raw_one():
    network, outputs, contents, styles = case(1, 2)
    louder = scaled(network, 3.0)
    for objective, content, style in ((OBJECTIVE, 3.0**2, 3.0**4), (NORMALIZED, 1.0, 1.0)):
        _, before = loss(objective, network, outputs, contents, styles)
        _, after = loss(objective, louder, outputs, contents, styles)
        np.testing.assert_allclose(after["content"], content * before["content"], rtol=1e-10)
        np.testing.assert_allclose(after["style"], style * before["style"], rtol=1e-10)


def test_normalized_loss_of_an_output_without_features_is_the_sum_of_its_network():
    """Every relative error is then exactly 1."""
    objective = perceptual.Objective(**{**vars(NORMALIZED), "style_layers": LAYERS})
    network, outputs, contents, styles = case(1, 1)
    targets = (
        content_targets(objective, network, contents),
        style_targets(objective, network, styles),
    )
    silent = jax.tree.map(jnp.zeros_like, network)
    _, parts = jax.jit(perceptual.perceptual_loss, static_argnums=0)(
        objective, silent, outputs, *targets
    )
    np.testing.assert_allclose(parts["content"], [0.7], rtol=1e-12)
    np.testing.assert_allclose(parts["style"], [30.0 * len(LAYERS)], rtol=1e-12)


def test_a_dead_layer_stays_finite_when_normalized():
    network, outputs, contents, styles = case(1, 1)
    silent = jax.tree.map(jnp.zeros_like, network)

    def scalar(outputs):
        return loss(NORMALIZED, silent, outputs, contents, styles)[0].sum()

    value, slope = jax.value_and_grad(scalar)(outputs)
    assert value == 0
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("weight", "function"),
    [
        ("total_variation_weight", style_losses.total_variation),
        ("lattice_weight", lattice.lattice),
    ],
)
def test_what_is_asked_of_the_picture_alone_counts_with_its_weight(weight, function):
    network, outputs, contents, styles = case(1, 2)
    objective = perceptual.Objective(**{**vars(OBJECTIVE), weight: 2.5})
    total, parts = loss(objective, network, outputs, contents, styles)
    rest = total - parts["content"] - parts["style"]
    np.testing.assert_allclose(rest, 2.5 * function(outputs), rtol=1e-9)
    total, parts = loss(OBJECTIVE, network, outputs, contents, styles)
    np.testing.assert_allclose(total, parts["content"] + parts["style"], rtol=1e-14)


def test_layers_are_listed_once():
    assert OBJECTIVE.layers == ("relu2_2", "relu1_2")


def test_other_weights_run_the_same_program():
    traces = []

    @jax.jit
    def traced(objective, x):
        traces.append(objective)
        return objective.style_weight * x

    for weight in (1.0, 2.0, 3.0):
        objective = dataclasses.replace(OBJECTIVE, style_weight=weight)
        np.testing.assert_allclose(traced(objective, jnp.ones(2)), weight)
    assert len(traces) == 1
    traced(dataclasses.replace(OBJECTIVE, normalize=True), jnp.ones(2))
    assert len(traces) == 2  # what is compared shapes the program


def test_features_in_bfloat16_give_a_float32_loss(float64):
    with jax.enable_x64(False):
        network, outputs, contents, styles = case(1, 2)
        narrow = dataclasses.replace(network, dtype="bfloat16")
        half, parts = loss(NORMALIZED, narrow, outputs, contents, styles)
        single, _ = loss(NORMALIZED, network, outputs, contents, styles)
        assert {x.dtype for x in (half, *parts.values())} == {np.dtype(np.float32)}
        np.testing.assert_allclose(half, single, rtol=0.05)
