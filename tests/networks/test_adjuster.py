"""The adjuster of styles: by hand in NumPy, and where it begins."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from metastyle_jax.networks import adjuster, predictor

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(params, alpha, rows) -> np.ndarray:
    """(N, sum of C) numbers of styles whose rows are given."""
    hidden = 2 * np.asarray(alpha) - 1
    for number in range(len(params) - 1):
        layer = params[f"hidden{number}"]
        hidden = np.maximum(hidden @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    units = hidden.shape[1]
    return rows + predictor.OUTPUT_SCALE / units * hidden @ np.asarray(params["output"]["kernel"])


def flat(style) -> np.ndarray:
    return np.concatenate(jax.tree.leaves(style), axis=-1)


@pytest.mark.parametrize("layers", [1, 3])
def test_styles_by_hand(layers):
    style = tiny.parameters()["style"]
    params = adjuster.init(jax.random.key(0), style, inputs=2, hidden=5, layers=layers)
    assert len(params) == layers + 1
    params = jax.tree.map(lambda x, d: x + d, params, tiny.like(params))
    alpha = jnp.asarray([[0.0, 0.3], [1.0, 0.9], [0.5, 0.2]])
    found = adjuster.adjust(params, alpha, style)
    assert jax.tree.structure(found) == jax.tree.structure(style)
    np.testing.assert_allclose(flat(found), by_hand(params, alpha, flat(style)), rtol=1e-12)
    each = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), style)
    found = adjuster.adjust(params, alpha, each)
    np.testing.assert_allclose(flat(found), by_hand(params, alpha, flat(each)), rtol=1e-12)


def test_at_first_every_alpha_gives_the_style_itself():
    style = tiny.parameters()["style"]
    params = adjuster.init(jax.random.key(0), style, inputs=3, hidden=4, layers=2)
    found = adjuster.adjust(params, jnp.asarray([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]), style)
    np.testing.assert_array_equal(flat(found), np.stack([flat(style)] * 2))


def test_a_deviation_is_that_of_all_kernels_as_in_the_paper():
    style = tiny.parameters(width=8)["style"]
    params = adjuster.init(jax.random.key(0), style, inputs=30, hidden=60, layers=2, deviation=0.01)
    for layer in params.values():
        assert float(layer["kernel"].std()) == pytest.approx(0.01, rel=0.1)
