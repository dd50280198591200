"""Convolutions against sums written out in NumPy; rewrites against the direct form in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from derivatives import relative_error
from metastyle_jax.networks import convolution, convolution_forms, winograd

pytestmark = pytest.mark.usefixtures("float64")


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def summed(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """The definition: y[n, i, j, o] = sum of x[n, s i + a, s j + b, c] kernel[a, b, c, o]."""
    side = kernel.shape[0]
    height = (x.shape[1] - side) // stride + 1
    width = (x.shape[2] - side) // stride + 1
    y = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = x[:, stride * i : stride * i + side, stride * j : stride * j + side]
            y[:, i, j] = np.einsum("nabc,abco->no", window, kernel)
    return y


def second_derivatives(function, x: jax.Array, kernel: jax.Array):
    """Value, gradient and a Hessian product of a nonlinear scalar of `function(x, kernel)`."""

    def scalar(pair):
        return jnp.sin(function(*pair)).sum()

    def all_three(point, direction):
        (value, slope), (_, curvature) = jax.jvp(jax.value_and_grad(scalar), (point,), (direction,))
        return value, slope, curvature

    point = (x, kernel)
    return jax.jit(all_three)(point, tiny.like(point, seed=5))


def test_reflect_pad_mirrors_without_repeating_the_border():
    x = random(2, 5, 7, 3)
    expected = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(convolution.reflect_pad(x, 4), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolve_is_the_sum_over_the_window(stride):
    x, kernel = random(2, 8, 11, 3), random(3, 3, 3, 5, seed=1)
    actual = convolution.convolve(x, kernel, stride)
    np.testing.assert_allclose(actual, summed(x, kernel, stride), atol=1e-12)


@pytest.mark.parametrize(
    ("side", "block", "height", "width", "inputs", "outputs"),
    [(9, 4, 16, 24, 3, 4), (9, 4, 4, 8, 4, 3), (3, 2, 6, 4, 2, 2)],
)
def test_blocked_convolution_equals_the_direct_one(side, block, height, width, inputs, outputs):
    x = random(2, height + side - 1, width + side - 1, inputs)
    kernel = random(side, side, inputs, outputs, seed=1)
    actual = convolution.convolve_blocked(x, kernel, block)
    assert actual.shape == (2, height, width, outputs)
    np.testing.assert_allclose(actual, summed(x, kernel), atol=1e-11)


def test_upsampling_convolution_is_what_its_name_says():
    x, kernel = random(2, 3, 5, 4), random(3, 3, 4, 2, seed=1)
    doubled = np.asarray(x).repeat(2, axis=1).repeat(2, axis=2)
    padded = np.pad(doubled, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    actual = convolution.upsample_convolve(x, kernel)
    assert actual.shape == (2, 6, 10, 2)
    np.testing.assert_allclose(actual, summed(padded, kernel), atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 4)])
def test_upsampling_by_phases_equals_the_direct_form(height, width):
    x, kernel = random(2, height, width, 4), random(3, 3, 4, 2, seed=1)
    actual = convolution.upsample_convolve_quickly(x, kernel)
    np.testing.assert_allclose(actual, convolution.upsample_convolve(x, kernel), atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (7, 4)])
def test_blur_is_a_convolution_with_binomial_weights(height, width):
    x = random(2, height, width, 3)
    line = np.array([1.0, 2.0, 1.0]) / 4
    kernel = np.multiply.outer(np.outer(line, line), np.eye(3))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    np.testing.assert_allclose(convolution.blur(x), summed(padded, kernel), atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(3, 6), (6, 10), (11, 8)])
def test_winograd_convolution_equals_the_direct_one(height, width):
    x, kernel = random(2, height, width, 4), random(3, 3, 4, 5, seed=1)
    actual = winograd.convolve(x, kernel)
    assert actual.shape == (2, height - 2, width - 2, 5)
    np.testing.assert_allclose(actual, summed(x, kernel), atol=1e-12)


def test_winograd_rounds_little_more_than_the_direct_sum():
    x, kernel = random(1, 18, 18, 64), random(3, 3, 64, 32, seed=1)
    exact = convolution.convolve(x, kernel)
    small, narrow = x.astype(np.float32), kernel.astype(np.float32)
    rounded = convolution.convolve(small.astype(float), narrow.astype(float))
    actual = winograd.convolve(small, narrow)
    assert actual.dtype == np.float32
    assert relative_error(actual.astype(float), rounded) < 2e-6
    assert relative_error(actual.astype(float), exact) < 3e-6


@pytest.mark.parametrize(
    ("shape", "kernel_shape", "dtype", "winograd"),
    [
        ((1, 8, 9, 64), (3, 3, 64, 72), np.float64, True),
        ((1, 8, 9, 32), (3, 3, 32, 64), np.float64, False),
        ((1, 4, 9, 64), (3, 3, 64, 64), np.float64, False),
        ((1, 8, 9, 64), (1, 1, 64, 64), np.float64, False),
        ((1, 8, 9, 64), (3, 3, 64, 64), jax.numpy.bfloat16, False),
    ],
)
def test_quick_convolution_is_winograd_only_where_that_pays(shape, kernel_shape, dtype, winograd):
    x, kernel = random(*shape).astype(dtype), random(*kernel_shape).astype(dtype)
    program = jax.jit(convolution.convolve_quickly).lower(x, kernel).as_text()
    assert ("dot_general" in program) == winograd
    # the other platform's form is not there to be chosen at run time
    assert ("stablehlo.convolution" in program) != winograd
    assert convolution.convolve_quickly(x, kernel).dtype == dtype


@pytest.mark.parametrize(
    ("rewrite", "direct", "shape", "kernel_shape"),
    [
        (winograd.convolve, convolution.convolve, (2, 7, 12, 3), (3, 3, 3, 2)),
        (convolution.convolve_quickly, convolution.convolve, (1, 7, 6, 64), (3, 3, 64, 64)),
        (convolution.convolve_blocked, convolution.convolve, (2, 16, 12, 3), (9, 9, 3, 2)),
        (
            convolution.upsample_convolve_quickly,
            convolution.upsample_convolve,
            (2, 3, 5, 3),
            (3, 3, 3, 2),
        ),
    ],
    ids=["winograd", "quickly", "blocked", "phases"],
)
def test_rewrites_have_the_derivatives_of_the_direct_form(rewrite, direct, shape, kernel_shape):
    x, kernel = random(*shape), 0.2 * random(*kernel_shape, seed=1)
    actual = second_derivatives(rewrite, x, kernel)
    expected = second_derivatives(direct, x, kernel)
    for mine, theirs in zip(actual, expected, strict=True):
        assert relative_error(mine, theirs) < 1e-12


@pytest.mark.parametrize("axes", [(0, None), (1, None), (0, 0), (None, 3)], ids=str)
def test_vectorized_quick_convolutions_are_the_single_ones(axes):
    shapes = ((1, 7, 8, 64), (3, 3, 64, 64))
    arguments = [
        0.2 * random(*(shape if axis is None else (*shape[:axis], 3, *shape[axis:])), seed=seed)
        for seed, (shape, axis) in enumerate(zip(shapes, axes, strict=True))
    ]
    actual = jax.vmap(convolution.convolve_quickly, axes)(*arguments)
    for index in range(3):
        one = [
            value if axis is None else jnp.take(value, index, axis)
            for value, axis in zip(arguments, axes, strict=True)
        ]
        assert relative_error(actual[index], convolution.convolve(*one)) < 1e-12


@pytest.mark.parametrize(
    ("function", "direct", "shapes", "other"),
    [
        (
            convolution.convolve_quickly,
            convolution.convolve,
            ((1, 8, 9, 64), (3, 3, 64, 64)),
            {"winograd_channels": 0},
        ),
        (
            convolution.convolve_quickly,
            convolution.convolve,
            ((1, 8, 9, 32), (3, 3, 32, 32)),
            {"winograd_channels": 32},
        ),
        (
            convolution.convolve_picture,
            convolution.convolve,
            ((1, 16, 12, 3), (9, 9, 3, 2)),
            {"first_in_blocks": True},
        ),
        (
            convolution.convolve_to_picture,
            convolution.convolve,
            ((1, 16, 12, 3), (9, 9, 3, 2)),
            {"last_in_blocks": False},
        ),
        (
            convolution.upsample_convolve_quickly,
            convolution.upsample_convolve,
            ((2, 3, 5, 3), (3, 3, 3, 2)),
            {"upsampling_in_phases": False},
        ),
    ],
    ids=["no winograd", "more winograd", "first", "last", "upsampling"],
)
def test_another_form_is_another_program_of_the_same_values(function, direct, shapes, other, use):
    x, kernel = (0.2 * random(*shape, seed=seed) for seed, shape in enumerate(shapes))

    def lowered() -> str:
        return jax.jit(function).lower(x, kernel).as_text()

    usual = lowered()
    use(convolution_forms.Forms(**other))
    assert lowered() != usual
    actual = second_derivatives(function, x, kernel)
    expected = second_derivatives(direct, x, kernel)
    for mine, theirs in zip(actual, expected, strict=True):
        assert relative_error(mine, theirs) < 1e-12


@pytest.fixture
def use():
    yield convolution_forms.use
    convolution_forms.use(convolution_forms.Forms())


def test_an_exported_program_has_the_form_of_its_platform():
    x, kernel = random(1, 8, 8, 64), random(3, 3, 64, 64)
    gradient = jax.jit(jax.grad(lambda x, kernel: convolution.convolve_quickly(x, kernel).sum()))
    text = {
        platform: jax.export.export(gradient, platforms=[platform])(x, kernel).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert {name for name, program in text.items() if "dot_general" in program} == {"cpu"}
    direct = {name for name, program in text.items() if "stablehlo.convolution" in program}
    assert direct == {"cuda", "tpu"}
