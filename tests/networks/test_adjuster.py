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
    params = jax.tree.map(np.asarray, params)
    for number in range(sum("hidden" in name for name in params)):
        layer = params[f"hidden{number}"]
        hidden = np.maximum(hidden @ layer["kernel"] + layer["bias"], 0)
    if "code" in params:
        hidden = hidden @ params["code"]["kernel"] + params["code"]["bias"]
    kernel = params["output"]["kernel"]
    kernels = kernel if kernel.ndim == 3 else [kernel] * len(hidden)
    moved = np.stack([row @ each for row, each in zip(hidden, kernels, strict=True)])
    return rows + predictor.OUTPUT_SCALE / hidden.shape[1] * moved


def flat(style) -> np.ndarray:
    return np.concatenate(jax.tree.leaves(style), axis=-1)


@pytest.mark.parametrize(("layers", "code"), [(1, 0), (3, 0), (2, 3)])
def test_styles_by_hand(layers, code):
    style = tiny.parameters()["style"]
    params = adjuster.init(jax.random.key(0), style, inputs=2, hidden=5, layers=layers, code=code)
    assert len(params) == layers + bool(code) + 1
    assert params["output"]["kernel"].shape[0] == (code or 5) and adjuster.inputs(params) == 2
    params = jax.tree.map(lambda x, d: x + d, params, tiny.like(params))
    alpha = jnp.asarray([[0.0, 0.3], [1.0, 0.9], [0.5, 0.2]])
    found = adjuster.adjust(params, alpha, style)
    assert jax.tree.structure(found) == jax.tree.structure(style)
    np.testing.assert_allclose(
        flat(found), by_hand(params, alpha, flat(style)), rtol=1e-12, atol=1e-12
    )
    each = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), style)
    found = adjuster.adjust(params, alpha, each)
    np.testing.assert_allclose(
        flat(found), by_hand(params, alpha, flat(each)), rtol=1e-12, atol=1e-12
    )
    kernel = params["output"]["kernel"]
    params["output"] = {"kernel": jnp.stack([kernel, -kernel, 3 * kernel])}
    found = adjuster.adjust(params, alpha, each)
    np.testing.assert_allclose(
        flat(found), by_hand(params, alpha, flat(each)), rtol=1e-12, atol=1e-12
    )


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
