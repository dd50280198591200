"""Losses against sums written out by hand and against torch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metastyle_jax.losses import style_losses


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def test_gram_matrix_is_the_mean_product_of_channels_over_positions(float64):
    x = random(2, 3, 4, 5)
    expected = np.zeros((2, 5, 5))
    for n in range(2):
        for row in range(3):
            for column in range(4):
                for a in range(5):
                    for b in range(5):
                        expected[n, a, b] += x[n, row, column, a] * x[n, row, column, b]
    # Johnson et al. 2016, eq. 3
    np.testing.assert_allclose(style_losses.gram_matrix(x), expected / (5 * 3 * 4), atol=1e-14)


def test_gram_matrix_equals_that_of_torch(float64, torch_reference):
    x = random(2, 6, 7, 5)
    expected = torch_reference.gram(torch_reference.channels_first(x)).numpy()
    np.testing.assert_allclose(style_losses.gram_matrix(x), expected, atol=1e-14)


def test_gram_matrix_forgets_where_features_are(float64):
    x = random(1, 4, 6, 3)
    shuffled = np.random.default_rng(1).permutation(np.asarray(x).reshape(24, 3))
    actual = style_losses.gram_matrix(jnp.asarray(shuffled.reshape(1, 8, 3, 3)))
    np.testing.assert_allclose(actual, style_losses.gram_matrix(x), atol=1e-14)


def test_gram_matrix_does_not_depend_on_the_size_of_a_repeated_picture(float64):
    x = random(1, 3, 4, 5)
    tiled = jnp.tile(x, (1, 2, 3, 1))
    np.testing.assert_allclose(
        style_losses.gram_matrix(tiled), style_losses.gram_matrix(x), atol=1e-14
    )


def test_gram_products_of_bfloat16_features_are_float32():
    x = random(1, 64, 64, 4).astype(jnp.bfloat16)
    actual = style_losses.gram_matrix(x)
    assert actual.dtype == jnp.float32
    columns = np.asarray(x, np.float64).reshape(-1, 4)
    np.testing.assert_allclose(actual[0], columns.T @ columns / (4 * 64 * 64), atol=1e-6)


def test_gram_distance_is_zero_only_for_equal_statistics(float64):
    statistics = style_losses.gram.statistics(random(2, 4, 4, 3))
    np.testing.assert_array_equal(style_losses.gram.distance(statistics, statistics), [0, 0])
    other = style_losses.gram.statistics(random(2, 5, 6, 3, seed=1))
    distance = style_losses.gram.distance(statistics, other)
    expected = [((np.asarray(statistics[n]) - other[n]) ** 2).sum() / 9 for n in range(2)]
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    assert (np.asarray(distance) > 0).all()


def test_gram_magnitude_is_the_distance_from_nothing(float64):
    statistics = style_losses.gram.statistics(random(2, 4, 4, 3))
    expected = style_losses.gram.distance(jnp.zeros_like(statistics), statistics)
    np.testing.assert_allclose(style_losses.gram.magnitude(statistics), expected, rtol=1e-14)


def test_content_loss_is_a_mean_per_image(float64):
    x, y = random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1)
    expected = [((np.asarray(x[n]) - y[n]) ** 2).sum() / (3 * 4 * 5) for n in range(2)]
    np.testing.assert_allclose(style_losses.content_loss(x, y), expected, rtol=1e-12)
    np.testing.assert_array_equal(style_losses.content_loss(x, x), [0, 0])


def test_gradient_of_the_gram_distance_equals_its_closed_form(float64):
    """d/dF mean((G - A)^2) = 4 F (G - A) / (C^2 C H W), F the (H W, C) columns."""
    x, target = random(1, 3, 4, 5), style_losses.gram_matrix(random(1, 3, 4, 5, seed=1))
    slope = jax.grad(
        lambda x: style_losses.gram.distance(style_losses.gram.statistics(x), target).sum()
    )(x)
    columns = np.asarray(x).reshape(12, 5)
    difference = np.asarray(style_losses.gram_matrix(x) - target)[0]
    expected = 4 * columns @ difference / (25 * 5 * 12)
    np.testing.assert_allclose(slope.reshape(12, 5), expected, rtol=1e-11)


def test_total_variation_by_hand(float64):
    image = jnp.asarray([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]])[None, :, :, None]
    # down: 2, 1, -1, three differences; right: 1, 2, 0, 0, four
    expected = (4 + 1 + 1) / 3 + (1 + 4 + 0 + 0) / 4
    images = jnp.concatenate([image, jnp.full_like(image, 0.7)])
    np.testing.assert_allclose(style_losses.total_variation(images), [expected, 0], atol=1e-15)


@pytest.mark.parametrize("name", ["content_loss", "total_variation", "gram"])
def test_losses_of_a_batch_are_those_of_its_images(float64, name):
    x, y = random(3, 4, 5, 2), random(3, 4, 5, 2, seed=1)
    functions = {
        "content_loss": lambda x, y: style_losses.content_loss(x, y),
        "total_variation": lambda x, y: style_losses.total_variation(x),
        "gram": lambda x, y: style_losses.gram.distance(*map(style_losses.gram.statistics, (x, y))),
    }
    together = functions[name](x, y)
    assert together.shape == (3,)
    apart = [functions[name](x[n : n + 1], y[n : n + 1])[0] for n in range(3)]
    np.testing.assert_allclose(together, apart, rtol=1e-13)
