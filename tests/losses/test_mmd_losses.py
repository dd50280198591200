"""The MMD family against the quadratic-time definition, closed forms and finite differences."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmd
from derivatives import central_difference
from metastyle_jax.losses import fusion, style_losses

pytestmark = pytest.mark.usefixtures("float64")

NAMES = (
    "gram",
    "linear",
    "poly(0)",
    "poly(0.7)",
    "gaussian(1)",
    "gaussian(0.5, 2)",
    "bn",
    "sliced_wasserstein(8)",
    "0.3*linear + 0.7*gaussian(1)",
    "bn + 2*poly(0.1)",
)
KEY = jax.random.key(3)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    """Features as after a ReLU: not negative, some zero."""
    return np.maximum(np.random.default_rng(seed).standard_normal(shape) + 0.3, 0)


@functools.partial(jax.jit, static_argnums=0)
def distance(loss, x, y, key=KEY):
    return loss.distance(loss.statistics(x), loss.target(loss.statistics(y)), key)


def flat(x) -> np.ndarray:
    return np.asarray(x[0]).reshape(-1, x.shape[-1])


def linear_kernel(x, y):
    return x @ y.T / x.shape[1]


def poly_kernel(constant, x, y):
    return (linear_kernel(x, y) + constant) ** 2


X, Y = random(1, 3, 4, 5), random(1, 4, 5, 5, seed=1)


def test_linear_is_mmd_with_the_linear_kernel():
    expected = mmd.biased(flat(X), flat(Y), linear_kernel)
    np.testing.assert_allclose(distance(style_losses.linear, X, Y), [expected], rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.7, 3.0])
def test_poly_is_mmd_with_the_polynomial_kernel(constant):
    expected = mmd.biased(flat(X), flat(Y), functools.partial(poly_kernel, constant))
    np.testing.assert_allclose(distance(style_losses.poly(constant), X, Y), [expected], rtol=1e-12)


def test_matching_gram_matrices_is_mmd_with_the_second_order_kernel():
    """Li et al. 2017: mean((G - A)^2) = MMD^2 / C^2 for k = (x . y / C)^2."""
    expected = mmd.biased(flat(X), flat(Y), functools.partial(poly_kernel, 0.0)) / 5**2
    np.testing.assert_allclose(distance(style_losses.gram, X, Y), [expected], rtol=1e-12)
    np.testing.assert_allclose(
        25 * distance(style_losses.gram, X, Y), distance(style_losses.poly(), X, Y)
    )


def test_the_constant_of_poly_adds_the_distance_of_the_means():
    difference = flat(X).mean(axis=0) - flat(Y).mean(axis=0)
    added = distance(style_losses.poly(0.7), X, Y) - distance(style_losses.poly(), X, Y)
    np.testing.assert_allclose(added, [2 * 0.7 * difference @ difference / 5], rtol=1e-12)


def test_bn_compares_means_and_deviations_of_channels():
    expected = 0.0
    for a, b in zip(flat(X).T, flat(Y).T, strict=True):
        deviations = [np.sqrt(z.var() + style_losses.VARIANCE_EPSILON) for z in (a, b)]
        expected += (a.mean() - b.mean()) ** 2 + (deviations[0] - deviations[1]) ** 2
    np.testing.assert_allclose(distance(style_losses.bn, X, Y), [expected / 5], rtol=1e-12)


def test_the_pooled_squared_distance_is_that_of_all_pairs():
    expected = mmd.mean_pooled_distance(flat(X), flat(Y))
    actual = style_losses.mean_squared_distance(style_losses.columns(X), style_losses.columns(Y))
    np.testing.assert_allclose(actual, [expected], rtol=1e-12)


@pytest.mark.parametrize("factors", [(1.0,), (0.3,), (0.3, 1.0, 4.0)])
@pytest.mark.parametrize("other", [Y, random(1, 3, 4, 5, seed=2)], ids=["larger", "as large"])
def test_the_gaussian_estimate_is_unbiased(factors, other):
    """Its mean over shuffles is the quadratic-time estimate, to 4 of its standard errors."""
    bandwidth = mmd.mean_pooled_distance(flat(X), flat(other))

    def kernel(x, y):
        squared = mmd.squared_distances(x, y) / bandwidth
        return np.mean([np.exp(-squared / factor) for factor in factors], axis=0)

    expected = mmd.unbiased(flat(X), flat(other), kernel)
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(
        jax.vmap(lambda key: distance(style_losses.gaussian(*factors), X, other, key)[0])
    )(keys)
    error = float(draws.std() / np.sqrt(draws.size))
    assert error < 0.02 * abs(expected) + 0.003
    assert abs(float(draws.mean()) - expected) < 4 * error
    # the test can tell: an estimate with each position paired with itself is further away
    assert abs(mmd.biased(flat(X), flat(other), kernel) - expected) > 4 * error


def test_the_bandwidth_is_a_constant_in_the_gradient():
    loss = style_losses.gaussian(0.6)
    bandwidth = 0.6 * mmd.mean_pooled_distance(flat(X), flat(Y))
    x0, x1, y0, y1 = style_losses._shuffled_pairs(
        *map(jnp.asarray, (flat(X)[None], flat(Y)[None])), KEY
    )

    def slope_of(first, second):
        """d/d first of the mean of exp(-||first - second||^2 / bandwidth)."""
        gap = np.asarray(first - second)[0]
        kernel = np.exp(-np.square(gap).sum(axis=-1) / bandwidth)
        return -2 * gap * kernel[:, None] / bandwidth / len(gap)

    slope = jax.grad(lambda x: distance(loss, x, Y).sum())(X)
    slope = {tuple(x): g for x, g in zip(flat(X), flat(slope), strict=True)}
    first = slope_of(x0, x1) - slope_of(x0, y1)
    second = slope_of(x1, x0) - slope_of(x1, y0)
    for positions, expected in ((x0, first), (x1, second)):
        for x, g in zip(np.asarray(positions)[0], expected, strict=True):
            np.testing.assert_allclose(slope[tuple(x)], g, rtol=1e-9, atol=1e-15)


def test_sliced_wasserstein_of_one_channel_is_the_distance_of_sorted_values():
    """In one dimension the optimal plan pairs the sorted values."""
    x, y = random(1, 3, 4, 1), random(1, 2, 6, 1, seed=1)
    expected = np.square(np.sort(flat(x), axis=0) - np.sort(flat(y), axis=0)).mean()
    actual = distance(style_losses.sliced_wasserstein(4), x, y)
    np.testing.assert_allclose(actual, [expected], rtol=1e-12)


def test_sliced_wasserstein_of_a_shift_is_its_projection():
    """Mean over directions of (d . shift)^2, which is |shift|^2 / C."""
    x = random(1, 6, 6, 3)
    shift = np.asarray([0.5, -1.0, 2.0])
    actual = distance(style_losses.sliced_wasserstein(4096), x, x + shift)
    np.testing.assert_allclose(actual, [5.25 / 3], rtol=0.1)


@pytest.mark.parametrize("name", ["linear", "poly(0.7)", "bn", "gram", "sliced_wasserstein(8)"])
def test_a_repeated_picture_is_the_same_style(name):
    """Resolution independence: the same distribution at four times as many positions."""
    loss, tiled = fusion.parse(name), np.tile(Y, (1, 2, 2, 1))
    tolerance = 0.05 if loss.random else 1e-12  # quantiles are interpolated
    np.testing.assert_allclose(distance(loss, X, tiled), distance(loss, X, Y), rtol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_where_features_are_does_not_matter(name):
    loss = fusion.parse(name)
    order = np.random.default_rng(1).permutation(12)
    shuffled = flat(X)[order].reshape(1, 3, 4, 5)
    if "gaussian" not in name:
        np.testing.assert_allclose(distance(loss, shuffled, Y), distance(loss, X, Y), rtol=1e-12)
        return
    keys = jax.random.split(KEY, 3000)
    draws = jax.jit(jax.vmap(lambda key, x: distance(loss, x, Y, key)[0], (0, None)))
    here, there = draws(keys, X), draws(keys, shuffled)
    error = np.hypot(here.std(), there.std()) / np.sqrt(keys.size)
    assert abs(here.mean() - there.mean()) < 4 * error


@pytest.mark.parametrize("name", NAMES)
def test_zero_for_an_image_and_itself(name):
    loss = fusion.parse(name)
    if "gaussian" not in name:
        np.testing.assert_allclose(distance(loss, X, X), [0], atol=1e-14)
        return
    # two samples of one distribution: the estimate scatters around zero
    draw = functools.partial(random, 40, 8, 8, 5)
    values = distance(loss, draw(seed=5), draw(seed=6))
    assert abs(float(values.mean())) < 4 * float(values.std()) / np.sqrt(40)
    assert (values > 0).any() and (values < 0).any()


# the bandwidth of gaussian is a constant in the gradient: a test of its own
@pytest.mark.parametrize("name", [name for name in NAMES if "gaussian" not in name])
def test_gradient_is_the_slope(name):
    loss, direction = fusion.parse(name), random(1, 3, 4, 5, seed=9)
    slope = jax.jit(jax.grad(lambda x: distance(loss, x, Y).sum()))(X)
    expected = central_difference(lambda x: distance(loss, x, Y).sum(), X, direction, 1e-4)
    np.testing.assert_allclose((slope * direction).sum(), expected, rtol=1e-7)


CONSTANT = np.full((1, 3, 4, 5), 0.25)
LIVE = np.asarray([1, 1, 0, 1, 1.0])
CASES = {
    "dead channel": (LIVE * X, Y),
    "dead in both": (LIVE * X, LIVE * Y),
    "constant": (CONSTANT, Y),
    "both the same constant": (CONSTANT, np.full_like(Y, 0.25)),
    "nothing at all": (0 * X, 0 * Y),
    "one position": (X[:, :1, :1], Y),
    "one position each": (X[:, :1, :1], Y[:, :1, :1]),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "relative"])
def test_degenerate_features_give_finite_values_and_gradients(name, normalized):
    loss = fusion.relative(fusion.parse(name)) if normalized else fusion.parse(name)
    with_slope = jax.jit(jax.value_and_grad(lambda x, y: distance(loss, x, y).sum()))
    for case, (x, y) in CASES.items():
        value, slope = with_slope(x, y)
        assert np.isfinite(value) and np.isfinite(slope).all(), case
        if "dead" in case:
            assert np.asarray(slope)[..., [0, 1, 3, 4]].any()
        if case == "both the same constant":
            np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_the_gaussian_loss_of_one_position_each_is_its_closed_form():
    x, y = X[:, :1, :1], Y[:, :1, :1]
    # the pooled squared distance of two points is half of theirs
    expected = 2 - 2 * np.exp(-2.0)
    np.testing.assert_allclose(distance(style_losses.gaussian(), x, y), [expected], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_images(name):
    loss, x, y = fusion.parse(name), random(3, 3, 4, 5), random(3, 4, 5, 5, seed=1)
    apart = [distance(loss, x[n : n + 1], y[n : n + 1])[0] for n in range(3)]
    np.testing.assert_allclose(distance(loss, x, y), apart, rtol=1e-12)


@pytest.mark.parametrize("name", ["gram", "linear", "poly(0)", "poly(0.7)", "gram + 2*linear"])
def test_a_relative_loss_is_its_weight_for_an_image_without_features(name):
    expected = 3 if "+" in name else 1
    actual = distance(fusion.relative(fusion.parse(name)), 0 * X, Y)
    np.testing.assert_allclose(actual, [expected], rtol=1e-12)


@pytest.mark.parametrize("name", ["gram", "linear", "poly(0)", "gaussian(1)", "gram + 2*linear"])
def test_a_relative_loss_does_not_depend_on_how_loud_features_are(name):
    loss = fusion.relative(fusion.parse(name))
    np.testing.assert_allclose(distance(loss, 3 * X, 3 * Y), distance(loss, X, Y), rtol=1e-9)


def test_a_fusion_is_a_weighted_sum_relative_part_by_part():
    fused = fusion.parse("0.25*linear + 2*poly(0.3)")
    parts = [distance(loss, X, Y) for loss in (style_losses.linear, style_losses.poly(0.3))]
    np.testing.assert_allclose(distance(fused, X, Y), 0.25 * parts[0] + 2 * parts[1], rtol=1e-12)
    scales = [
        loss.magnitude(loss.statistics(Y)) for loss in (style_losses.linear, style_losses.poly(0.3))
    ]
    expected = 0.25 * parts[0] / scales[0] + 2 * parts[1] / scales[1]
    np.testing.assert_allclose(distance(fusion.relative(fused), X, Y), expected, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_found_again_under_its_name(name):
    loss = fusion.parse(name)
    assert fusion.parse(loss.name) == loss
    assert hash(fusion.parse(loss.name)) == hash(loss)
    assert fusion.relative(loss) == fusion.relative(fusion.parse(name))


def test_numbers_may_be_written_in_any_way():
    assert fusion.parse(" 1e+1*poly( 2 )+.5 * gaussian(1,2)").name == (
        "10.0*poly(2.0) + 0.5*gaussian(1.0, 2.0)"
    )


@pytest.mark.parametrize(
    "text, fragments",
    [
        ("grams", ["'grams'", "gram, linear, poly, gaussian, bn, sliced_wasserstein"]),
        ("", ["gram, linear"]),
        ("gram+", ["gram, linear"]),
        ("gaussian(0)", ["bandwidth", "0", "positive"]),
        ("gaussian(1, -2)", ["bandwidth", "-2"]),
        ("gaussian(wide)", ["'wide'", "numbers"]),
        ("poly(-1)", ["constant", "-1"]),
        ("poly(1, 2)", ["poly", "fewer numbers"]),
        ("bn(3)", ["bn", "fewer numbers"]),
        ("0*bn + gram", ["weight of bn", "0"]),
        ("-1*bn", ["weight of bn", "-1"]),
        ("sliced_wasserstein(0)", ["directions"]),
        ("sliced_wasserstein(2.5)", ["directions"]),
    ],
)
def test_what_is_no_loss_is_said_in_one_sentence(text, fragments):
    with pytest.raises(ValueError) as caught:
        fusion.parse(text)
    assert all(fragment in str(caught.value) for fragment in fragments)


@pytest.mark.parametrize("name", ["gaussian", "sliced_wasserstein"])
def test_a_random_loss_without_a_key_says_so(name):
    with pytest.raises(ValueError, match=f"{name}.*needs a key"):
        distance(fusion.parse(name), X, Y, key=None)
