"""Noise on the parameters of a style."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.networks import style_noise

STYLE = {"one": {"scale": jnp.ones((3, 500)), "bias": jnp.zeros((3, 500))}, "two": jnp.zeros(500)}


def test_it_is_normal_and_other_for_each_row_and_leaf():
    noisy = style_noise.add_noise(jax.random.key(0), STYLE, 0.3)
    rows = [*(noisy["one"]["scale"] - 1), *noisy["one"]["bias"], noisy["two"]]
    for row in rows:
        # standard errors: 0.3 / sqrt(500) of the mean, 0.3 / sqrt(1000) of the deviation
        assert abs(float(row.mean())) < 5 * 0.3 / 500**0.5
        assert abs(float(row.std()) - 0.3) < 5 * 0.3 / 1000**0.5
    correlations = np.corrcoef(np.stack(rows)) - np.eye(len(rows))
    assert np.abs(correlations).max() < 5 / 500**0.5


def test_without_a_deviation_nothing_changes_and_a_key_says_all():
    jax.tree.map(
        np.testing.assert_array_equal,
        style_noise.add_noise(jax.random.key(0), STYLE, 0.0),
        STYLE,
    )
    one, again, other = (style_noise.add_noise(jax.random.key(k), STYLE, 1.0) for k in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one["two"] != other["two"]).all()


def test_a_sample_does_not_depend_on_the_others():
    rows = jax.tree.map(lambda leaf: jnp.zeros((6, 50)), STYLE)  # 2 styles, 3 contents
    keys = jax.random.split(jax.random.key(0), (2, 3))
    both = style_noise.add_to_samples(keys, rows, 1.0)
    for row in range(6):
        ours = jax.tree.map(lambda leaf, row=row: leaf[row], (both, rows))
        alone = style_noise.add_noise(keys[divmod(row, 3)], ours[1], 1.0)
        jax.tree.map(np.testing.assert_array_equal, ours[0], alone)
    assert len(np.unique(np.asarray(both["two"]))) == 6 * 50
