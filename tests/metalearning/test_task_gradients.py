"""Gradients of single styles: in a loop or one after the other, they are the same."""

import jax.numpy as jnp
import numpy as np
import pytest

from metastyle_jax.metalearning import task_gradients
from metastyle_jax.metalearning.outer_step import ONE_DEVICE
from metastyle_jax.metalearning.structures import Batch

STYLES = np.arange(24.0, dtype=np.float32).reshape(3, 2, 2, 2)


@pytest.mark.parametrize("unroll", [False, True])
def test_each_style_comes_alone_with_its_number(unroll):
    def gradient(batch, number):
        assert batch.styles.shape == (1, 2, 2, 2) and batch.query is contents
        return {"a": batch.styles[0].sum(axis=0) + 100 * jnp.float32(number)}, {
            "loss": batch.styles.max()
        }

    contents = jnp.ones(1)
    batch = Batch(jnp.asarray(STYLES), contents, contents)
    gradients, metrics = task_gradients.per_task(gradient, batch, unroll=unroll)
    expected = STYLES.sum(axis=1) + 100 * np.arange(3).reshape(3, 1, 1)
    np.testing.assert_array_equal(gradients["a"], expected)
    np.testing.assert_array_equal(metrics["loss"], [7, 15, 23])


def test_no_style_outweighs_others_and_zeros_stay_zeros():
    large, small = np.array([[3.0, 0, 4]]), np.array([[0, 0.05, 0]])
    leaf = jnp.asarray(np.concatenate([large, small]), jnp.float32)
    combined = task_gradients.normalized({"a": leaf, "b": jnp.zeros((2, 4))}, ONE_DEVICE)
    sizes = 5 / np.sqrt(3), 0.05 / np.sqrt(3)
    expected = (large[0] / sizes[0] + small[0] / sizes[1]) / 2 * np.mean(sizes)
    np.testing.assert_allclose(combined["a"], expected, rtol=1e-6)
    np.testing.assert_array_equal(combined["b"], np.zeros(4))


@pytest.mark.parametrize("tiny", [1e-30, 1e-24, 1e-16, 1e-10])
def test_the_result_is_about_as_large_as_a_gradient_however_small_another_one_is(tiny):
    """Squares of small numbers are zero in float32, which must not be divided by."""
    leaf = jnp.asarray([[tiny, tiny], [1e-3, -1e-3]], jnp.float32)
    combined = task_gradients.normalized({"a": leaf}, ONE_DEVICE)["a"]
    assert 1e-4 < np.abs(combined).max() <= 1e-3
