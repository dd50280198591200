"""The network: size of its parameters, styles of every shape, picture sizes, and exact rewrites."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from derivatives import relative_error
from metastyle_jax.evaluation import lattice
from metastyle_jax.networks import stylization_network

stylize = jax.jit(stylization_network.stylize, static_argnames=("dtype", "rewrite"))


def count(tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def rows(styles: list) -> stylization_network.Style:
    """Several styles (C,) as one with leaves (N, C)."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *styles)


def random_styles(number: int, **sizes: int) -> list:
    return [tiny.parameters(seed, **sizes)["style"] for seed in range(10, 10 + number)]


def test_default_size_is_that_of_the_paper():
    shapes = tiny.parameter_shapes()
    assert count(shapes) == 1_679_235
    assert count(shapes["style"]) == 3_200
    assert len(shapes["style"]) == 15
    assert len(shapes["weights"]) == 16
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}


def test_every_convolution_but_the_last_has_a_norm_of_its_width():
    shapes = tiny.parameter_shapes(width=4, residual_blocks=2)
    normed = {f"{name}_norm": layer["bias"].shape for name, layer in shapes["weights"].items()}
    assert normed.pop("conv4_norm") == (3,)
    style = {
        name: {"scale": layer["scale"].shape, "bias": layer["bias"].shape}
        for name, layer in shapes["style"].items()
    }
    assert style == {name: {"scale": shape, "bias": shape} for name, shape in normed.items()}
    assert stylization_network.count_residual_blocks(shapes["weights"]) == 2


@pytest.mark.parametrize("blur", [False, True])
def test_initial_network_draws_a_blurred_copy(blur):
    """Of what the instance norms leave: each color with mean 0 and deviation 1."""
    sizes = {"width": stylization_network.COPYING_WIDTH, "residual_blocks": 1, "blur": blur}
    init = jax.jit(functools.partial(stylization_network.init, **sizes))
    params = init(jax.random.key(0))
    coarse = np.random.default_rng(0).uniform(size=(2, 5, 6, 3)).astype(np.float32)
    x = np.asarray(jax.image.resize(coarse, (2, 40, 48, 3), "cubic"))
    y = np.asarray(stylize(params["weights"], params["style"], x))
    for picture, copy in zip(x, y, strict=True):
        for c in range(3):
            assert np.corrcoef(picture[..., c].ravel(), copy[..., c].ravel())[0, 1] > 0.9
            assert 0.1 < copy[..., c].std() < 0.25
    # none but the channels that carry the picture has lost its random entries
    assert params["weights"]["conv2"]["kernel"][..., 24:].std() > 0.01


def test_a_narrow_initial_network_keeps_variance_skips_its_blocks_and_is_near_gray():
    # compiled as a whole: op by op it takes ten times as long
    init = jax.jit(functools.partial(stylization_network.init, width=4, residual_blocks=1))
    params = init(jax.random.key(0))
    for name, layer in params["style"].items():
        np.testing.assert_array_equal(layer["scale"], name != "residual1_2_norm")
        np.testing.assert_array_equal(layer["bias"], 0)
    scaled = {}
    for name, layer in params["weights"].items():
        np.testing.assert_array_equal(layer["bias"], 0)
        fan_in = np.prod(layer["kernel"].shape[:-1])
        scaled[name] = np.ravel(layer["kernel"]) * np.sqrt(fan_in)
    # 972 numbers: the standard error of their variance is 5 %; about 8,400: 2 %
    assert scaled.pop("conv4").var() == pytest.approx(0.01, rel=0.2)
    assert np.concatenate(list(scaled.values())).var() == pytest.approx(1, abs=0.1)

    x = tiny.images(1, 16, 16)
    y = stylize(params["weights"], params["style"], x)
    assert 0 < np.abs(y - 0.5).max() < 0.15
    without = {name: w for name, w in params["weights"].items() if "residual" not in name}
    np.testing.assert_array_equal(stylize(without, params["style"], x), y)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (50, 67)])
def test_output_has_the_size_of_the_images_and_is_between_0_and_1(size):
    params = tiny.parameters()
    y = np.asarray(stylize(params["weights"], params["style"], tiny.images(2, *size)))
    assert y.shape == (2, *size, 3)
    assert y.dtype == np.float32
    assert y.min() >= 0
    assert y.max() <= 1
    assert y.std() > 0.01


@pytest.mark.parametrize("size", [(15, 40), (40, 15), (1, 1)])
def test_images_below_16_pixels_are_refused(size):
    params = tiny.parameters()
    with pytest.raises(ValueError, match=rf"{size[1]}x{size[0]} pixels.*16"):
        stylization_network.stylize(params["weights"], params["style"], tiny.images(1, *size))


def test_a_batch_equals_its_images_one_by_one(float64):
    params, x = tiny.parameters(), tiny.images(3, 18, 21)
    together = stylize(params["weights"], params["style"], x)
    apart = [stylize(params["weights"], params["style"], x[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-13)


def test_a_style_per_sample_equals_separate_calls(float64):
    weights, x, styles = tiny.parameters()["weights"], tiny.images(3, 18, 21), random_styles(3)
    together = stylize(weights, rows(styles), x)
    apart = [stylize(weights, style, x[i : i + 1]) for i, style in enumerate(styles)]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-13)
    assert np.abs(apart[0] - stylize(weights, styles[1], x[:1])).max() > 0.01


def test_repeat_style_gives_each_row_to_consecutive_samples():
    style = {"conv1_norm": {"scale": jnp.asarray([[1, 2], [3, 4]])}}
    repeated = stylization_network.repeat_style(style, 3)["conv1_norm"]["scale"]
    np.testing.assert_array_equal(repeated, [[1, 2]] * 3 + [[3, 4]] * 3)


@pytest.mark.parametrize("full", [False, True], ids=["broadcast", "every position"])
def test_a_constant_spatial_style_equals_the_style_per_sample(float64, full):
    weights, x, style = tiny.parameters()["weights"], tiny.images(2, 18, 21), rows(random_styles(2))
    # 18 x 21 is padded to 20 x 24
    scales = {"conv1_norm": 1, "up2_norm": 1, "conv2_norm": 2, "up1_norm": 2}

    def spread(path: tuple, leaf: jax.Array) -> jax.Array:
        spatial = leaf[:, None, None, :]
        if not full:
            return spatial
        scale = scales.get(path[0].key, 4)
        return jnp.broadcast_to(spatial, (2, 20 // scale, 24 // scale, leaf.shape[-1]))

    spatial = jax.tree_util.tree_map_with_path(spread, style)
    expected = stylize(weights, style, x)
    np.testing.assert_allclose(stylize(weights, spatial, x), expected, atol=1e-13)


def test_a_spatial_style_of_the_last_norm_acts_where_it_is(float64):
    weights, x, (left, other) = (
        tiny.parameters()["weights"],
        tiny.images(1, 16, 32),
        random_styles(2),
    )
    right = {**left, "up2_norm": other["up2_norm"]}
    is_left = (jnp.arange(32) < 16)[None, None, :, None]
    mixed = jax.tree.map(
        lambda a, b: jnp.where(is_left, a[None, None, None], b[None, None, None]),
        left["up2_norm"],
        right["up2_norm"],
    )
    y = stylize(weights, {**left, "up2_norm": mixed}, x)
    expected_left, expected_right = stylize(weights, left, x), stylize(weights, right, x)
    # the last convolution reaches 4 pixels over the boundary
    np.testing.assert_allclose(y[:, :, :12], expected_left[:, :, :12], atol=1e-13)
    np.testing.assert_allclose(y[:, :, 20:], expected_right[:, :, 20:], atol=1e-13)
    assert np.abs(expected_left - expected_right)[:, :, 12:20].max() > 0.01


def test_the_style_undoes_any_gain_of_a_convolution(float64):
    """Instance norms make kernels scale-free (up to epsilon) and their biases of no effect."""
    params, x = tiny.parameters(), tiny.images(1, 16, 16)
    weights = dict(params["weights"])
    weights["conv2"] = {
        "kernel": 1e3 * weights["conv2"]["kernel"],
        "bias": weights["conv2"]["bias"] + 5,
    }
    expected = stylize(params["weights"], params["style"], x)
    np.testing.assert_allclose(stylize(weights, params["style"], x), expected, atol=1e-3)


@pytest.mark.slow
def test_rewrites_change_neither_value_nor_first_nor_second_derivative(float64):
    # no residual block: there is nothing to rewrite in it
    params, x = tiny.parameters(residual_blocks=0), tiny.images(2, 17, 18)
    cotangent = tiny.like(x, seed=3)
    point = {**params, "images": x}

    def derivatives(rewrite: bool):
        def scalar(point):
            y = stylization_network.stylize(
                point["weights"], point["style"], point["images"], rewrite=rewrite
            )
            return (y * cotangent).sum()

        def both(point, direction):
            return jax.jvp(jax.value_and_grad(scalar), (point,), (direction,))

        (value, slope), (_, curvature) = jax.jit(both)(point, tiny.like(point, seed=4))
        return value, slope, curvature

    for rewritten, direct in zip(derivatives(True), derivatives(False), strict=True):
        assert relative_error(rewritten, direct) < 1e-10


def test_wide_residual_blocks_have_the_values_of_the_direct_form(float64):
    params = tiny.parameters(width=16)  # 64 channels in the residual block: Winograd's form
    x = tiny.images(1, 24, 20)
    programs = {
        rewrite: jax.jit(functools.partial(stylization_network.stylize, rewrite=rewrite)).lower(
            params["weights"], params["style"], x
        )
        for rewrite in (False, True)
    }
    assert ["dot_general" in text.as_text() for text in programs.values()] == [False, True]
    direct, quick = (
        program.compile()(params["weights"], params["style"], x) for program in programs.values()
    )
    np.testing.assert_allclose(quick, direct, atol=1e-10)


def test_bfloat16_convolutions_stay_close_and_return_float32():
    params, x = tiny.parameters(), tiny.images(2, 16, 20)
    single = stylize(params["weights"], params["style"], x)
    half = stylize(params["weights"], params["style"], x, dtype="bfloat16")
    assert half.dtype == jnp.float32
    difference = np.abs(half - single)
    assert 0 < difference.max() < 0.15
    assert difference.mean() < 0.02


def test_statistics_are_float32_for_bfloat16_features():
    """Mean 300, deviation 1: bfloat16 holds integers exactly up to 256 only."""
    random = np.random.default_rng(0)
    x = jnp.asarray(300 + 2 * random.integers(-1, 2, (1, 64, 64, 2)), jnp.bfloat16)
    y = stylization_network.InstanceNorm().apply(
        {"style": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}, x
    )
    wide = np.asarray(x, np.float64)
    expected = (wide - wide.mean((1, 2), keepdims=True)) / wide.std((1, 2), keepdims=True)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, atol=0.01)


@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("size", [(16, 20), (17, 23)])
def test_equals_an_independent_pytorch_network(float64, torch_reference, size, blur):
    params = tiny.parameters(residual_blocks=2, blur=blur)
    x = tiny.images(2, *size)
    expected = torch_reference.channels_last(
        torch_reference.johnson(torch_reference.tensors(params), torch_reference.channels_first(x))
    )
    actual = stylize(params["weights"], params["style"], x)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_the_architecture_is_read_off_the_weights():
    for sizes in (
        {"width": 4, "residual_blocks": 2, "blur": False},
        {"width": 3, "residual_blocks": 0, "blur": True},
    ):
        assert stylization_network.architecture(tiny.parameter_shapes(**sizes)["weights"]) == sizes
    # the styles of both have the same layers
    plain, blurred = (tiny.parameter_shapes(blur=blur)["style"] for blur in (False, True))
    assert plain == blurred


def test_a_network_can_go_on_with_a_blur_and_without_again():
    params, x = tiny.parameters(), tiny.images(1, 16, 16)
    blurred = stylization_network.with_blur(params["weights"], True)
    jax.tree.map(np.testing.assert_array_equal, blurred, tiny.parameters(blur=True)["weights"])
    outputs = [stylize(weights, params["style"], x) for weights in (params["weights"], blurred)]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.01
    plain = stylization_network.with_blur(blurred, False)
    jax.tree.map(np.testing.assert_array_equal, plain, params["weights"])


def test_a_blur_takes_the_lattice_away():
    """Of a kernel that sees a difference in every second row only, and a ReLU."""
    params = tiny.parameters(residual_blocks=0)
    random = np.random.default_rng(0)
    kernel = np.zeros((3, 3, 16, 8), np.float32)
    kernel[0], kernel[1] = -1, 1
    params["weights"]["up1"]["kernel"] = kernel * random.standard_normal(kernel.shape[2:])
    x = jnp.asarray(random.uniform(size=(4, 128, 128, 3)), jnp.float32)
    found = []
    for blur in (False, True):
        weights = stylization_network.with_blur(params["weights"], blur)
        found.append(lattice.lattice(np.asarray(stylize(weights, params["style"], x))).mean())
    assert found[0] > 5 > 2 > found[1]


def test_the_last_layer_takes_smaller_steps():
    params = tiny.parameters()
    scaled = stylization_network.scale_last_layer(params, 0.25)
    for part, layers in params.items():
        for layer, leaves in layers.items():
            factor = 0.25 if (part, layer) == ("weights", "conv4") else 1.0
            for name, leaf in leaves.items():
                np.testing.assert_array_equal(scaled[part][layer][name], factor * leaf)
    # there is no norm between it and the picture, and one after every other convolution
    assert set(params["weights"]) - {name.removesuffix("_norm") for name in params["style"]} == {
        stylization_network.LAST_LAYER
    }
    style_alone = {"style": params["style"]}
    assert stylization_network.scale_last_layer(style_alone, 0.25) is style_alone
