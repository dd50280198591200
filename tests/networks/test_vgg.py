"""Feature networks against torch's own layers; pooling and its derivatives."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from derivatives import central_difference, relative_error
from metastyle_jax.networks import vgg


def features(weights, images, layers, **options):
    function = jax.jit(lambda w, x: vgg.features(w, x, layers, **options))
    return function(weights, images)


def test_layers_are_those_of_the_paper():
    assert len(vgg.conv_names("vgg16")) == 13
    assert len(vgg.conv_names("vgg19")) == 16
    assert vgg.conv_names("vgg16")[-1] == "conv5_3"
    assert vgg.conv_names("vgg19")[-1] == "conv5_4"
    # the convolutional part of VGG-16 has 14,714,688 parameters, that of VGG-19 20,024,384
    for architecture, expected in (("vgg16", 14_714_688), ("vgg19", 20_024_384)):
        shapes = vgg.conv_shapes(architecture).values()
        assert sum(np.prod(shape) + shape[-1] for shape in shapes) == expected


def test_a_head_is_a_product_and_a_relu_on_its_layer(float64, torch_reference):
    layers = ("relu1_2", "relu2_1", "relu4_3")
    weights = tiny.feature_weights(layers, architecture="distilled")
    images = tiny.images(2, 27, 37)
    actual = features(weights, images, layers, architecture="distilled", pooling="average")
    trunk = torch_reference.vgg(weights, "distilled", "average")
    expected = torch_reference.vgg_features(trunk, torch_reference.channels_first(images))
    for layer, width in zip(layers, (64, 128, 512), strict=True):
        head = jax.tree.map(np.asarray, weights[vgg.head_of(layer)])
        seen = torch_reference.channels_last(expected[layer])
        predicted = np.einsum("nhwi,io->nhwo", seen, head["kernel"][0, 0]) + head["bias"]
        assert actual[layer].shape[-1] == width == vgg.width("distilled", layer)
        np.testing.assert_allclose(actual[layer], np.maximum(predicted, 0), rtol=1e-9, atol=1e-9)


def test_needed_convolutions_end_at_the_deepest_layer_in_any_order():
    assert vgg.needed_convs("vgg16", ["relu2_2", "relu1_1"]) == (
        "conv1_1",
        "conv1_2",
        "conv2_1",
        "conv2_2",
    )


@pytest.mark.parametrize(
    ("architecture", "layers", "pooling", "size"),
    [
        ("compact", ("relu1_1", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), "max", (32, 32)),
        ("compact", ("relu1_2", "relu3_1", "relu4_3"), "average", (27, 37)),
        ("compact", ("relu2_1", "relu4_2"), "max", (27, 37)),
        ("vgg16", ("relu1_2", "relu2_2"), "max", (32, 32)),
    ],
)
def test_features_equal_those_of_torch_layers(
    float64, torch_reference, architecture, layers, pooling, size
):
    weights = tiny.feature_weights(layers, architecture=architecture)
    images = tiny.images(2, *size)
    actual = features(weights, images, layers, architecture=architecture, pooling=pooling)
    network = torch_reference.vgg(weights, architecture, pooling)
    expected = torch_reference.vgg_features(network, torch_reference.channels_first(images))
    assert set(actual) == set(layers)
    for layer in layers:
        theirs = torch_reference.channels_last(expected[layer])
        assert actual[layer].shape == theirs.shape
        assert relative_error(actual[layer], theirs) < 1e-12


def test_only_the_layers_asked_for_are_computed_and_returned():
    weights = tiny.feature_weights(("relu2_1",))
    assert set(weights) == {"conv1_1", "conv1_2", "conv2_1"}
    images = tiny.images(1, 8, 8)

    def extract(images):
        return vgg.features(weights, images, ("relu1_1", "relu2_1"), architecture="compact")

    assert set(jax.eval_shape(extract, images)) == {"relu1_1", "relu2_1"}
    assert str(jax.make_jaxpr(extract)(images)).count("conv_general_dilated[") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "vgg11"}, "unknown feature network 'vgg11'; known are .*vgg16"),
        ({"layers": ("relu3_4",)}, "compact has no layer 'relu3_4'; known are relu1_1"),
        ({"layers": ("conv1_1",)}, "no layer 'conv1_1'"),
        ({"layers": ()}, "no feature layers"),
        ({"pooling": "min"}, "unknown pooling 'min'"),
        ({"layers": ("relu4_1",)}, "7x9 are too small for conv4_1"),
    ],
)
def test_mistakes_are_named(arguments, message):
    options = {"layers": ("relu1_1",), "architecture": "compact", **arguments}
    with pytest.raises(ValueError, match=message):
        vgg.features({}, tiny.images(1, 7, 9), **options)


def test_bfloat16_convolutions_return_the_dtype_of_the_images():
    layers = ("relu2_2",)
    weights, images = tiny.feature_weights(layers), tiny.images(1, 16, 16)
    single = features(weights, images, layers, architecture="compact")["relu2_2"]
    half = features(weights, images, layers, architecture="compact", dtype="bfloat16")["relu2_2"]
    assert half.dtype == jnp.float32
    assert 0 < relative_error(half, single) < 0.02


def windows(x) -> np.ndarray:
    """(N, H, W, C) to (N, H // 2, W // 2, C, 4) by indexing."""
    x = np.asarray(x)
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    corners = [x[:, i:h:2, j:w:2] for i in range(2) for j in range(2)]
    return np.stack(corners, axis=-1)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (3, 2)])
def test_pooling_drops_odd_borders_and_reduces_windows(size):
    x = tiny.images(2, *size)
    np.testing.assert_array_equal(vgg.max_pool(x), windows(x).max(-1))
    np.testing.assert_allclose(vgg.average_pool(x), windows(x).mean(-1), rtol=1e-6)


def test_gradient_of_max_pool_goes_to_the_maximum_and_is_shared_among_ties(float64):
    x = jnp.asarray([[1.0, 2, 7, 7], [4, 3, 7, 7]])[None, :, :, None]
    slope = jax.grad(lambda x: (vgg.max_pool(x) * jnp.asarray([[[[1.0], [8.0]]]])).sum())(x)
    np.testing.assert_allclose(slope[0, :, :, 0], [[0, 0, 2, 2], [1, 0, 2, 2]])


@pytest.mark.parametrize("pool", [vgg.max_pool, vgg.average_pool])
def test_derivatives_of_pooling_equal_finite_differences(float64, pool):
    x, direction = tiny.images(2, 6, 7), tiny.like(tiny.images(2, 6, 7), seed=1)

    def scalar(x):
        return jnp.sin(3 * pool(x)).sum()

    gradient = jax.jit(jax.grad(scalar))
    slope, curvature = jax.jit(lambda x, d: jax.jvp(jax.grad(scalar), (x,), (d,)))(x, direction)
    expected = central_difference(scalar, x, direction, 1e-4)
    np.testing.assert_allclose((slope * direction).sum(), expected, rtol=1e-9)
    expected = central_difference(gradient, x, direction, 1e-4)
    assert np.abs(curvature).max() > 0.1
    assert relative_error(curvature, expected) < 1e-9
    reverse = jax.jit(jax.grad(lambda x: (jax.grad(scalar)(x) * direction).sum()))(x)
    assert relative_error(reverse, curvature) < 1e-12


def test_gradient_of_max_pool_compiles_to_plain_comparisons():
    """Its derivative on `reduce_window` is slow and has weak support for second derivatives."""
    x = tiny.images(1, 8, 8)

    def window(x):
        return nn.max_pool(x, (2, 2), strides=(2, 2))

    def program(pool) -> str:
        lowered = jax.jit(jax.grad(lambda x: jnp.square(pool(x)).sum())).lower(x)
        return (lowered.as_text() + lowered.compile().as_text()).replace("-", "_")

    assert "select_and_scatter" in program(window), "the test no longer recognizes the operation"
    assert "select_and_scatter" not in program(vgg.max_pool)
