"""The lattice of a picture against closed forms and against NumPy's Fourier transform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metastyle_jax.losses.lattice import lattice

pytestmark = pytest.mark.usefixtures("float64")

SIDE = 64


def picture(rows=1.0, columns=1.0):
    """(1, SIDE, SIDE, 1), a product of what is given for rows and columns."""
    image = np.multiply.outer(rows * np.ones(SIDE), columns * np.ones(SIDE))
    return image[None, :, :, None]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (picture(np.cos(np.pi / 2 * np.arange(SIDE) + 0.3)), 1 / 2),
        (picture((-1.0) ** np.arange(SIDE)), 1),
        (picture(1.0, np.sin(np.pi / 2 * np.arange(SIDE))), 1 / 2),
        (picture((-1.0) ** np.arange(SIDE), np.cos(np.pi / 2 * np.arange(SIDE))), 1 / 2),
        (picture(0.7), 0),
    ],
    ids=["rows of 4", "rows of 2", "columns of 4", "both", "flat"],
)
def test_is_the_mean_square_of_a_grid(image, expected):
    np.testing.assert_allclose(lattice(jnp.asarray(image)), [expected], atol=1e-12)


def test_slow_changes_and_other_periods_count_next_to_nothing():
    slope = picture(np.linspace(0, 1, SIDE))
    stripes = picture(np.cos(2 * np.pi / 8 * np.arange(SIDE)))
    assert lattice(jnp.asarray(slope))[0] < 1e-6
    assert lattice(jnp.asarray(stripes))[0] < 1e-6


def test_equals_the_bins_of_a_fourier_transform():
    images = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3))
    window = np.hanning(SIDE + 1)[:SIDE]
    window = np.multiply.outer(window, window)
    spectrum = np.abs(np.fft.fft2(images * (window / window.sum())[None, :, :, None], axes=(1, 2)))
    bins = np.square(spectrum[:, :: SIDE // 4, :: SIDE // 4]).mean(axis=3)
    expected = bins.sum(axis=(1, 2)) - bins[:, 0, 0]
    np.testing.assert_allclose(lattice(jnp.asarray(images)), expected, rtol=1e-10)


def test_long_sides_have_windows_that_overlap():
    """A grid in a quarter of a large picture is seen as in one of that size, in one window of 9."""
    grid = np.tile(np.array([[1.0, -1.0], [1.0, -1.0]]), (64, 64))
    image = np.zeros((1, 256, 260, 1))
    image[0, :128, :128, 0] = grid
    alone = np.asarray(lattice(jnp.asarray(grid[None, :, :, None])))
    assert alone == pytest.approx(1)
    assert alone / 9 < lattice(jnp.asarray(image))[0] < alone / 3


def test_its_slope_removes_a_grid():
    image = jnp.asarray(picture((-1.0) ** np.arange(SIDE)) * 0.1 + 0.5)
    slope = jax.jit(jax.grad(lambda x: lattice(x).sum()))(image)
    middle = np.asarray(slope)[0, SIDE // 2 - 2 : SIDE // 2 + 2, SIDE // 2, 0]
    assert (np.sign(middle) == (-1.0) ** np.arange(4)).all()
    assert lattice(image - 100 * slope)[0] < lattice(image)[0]
