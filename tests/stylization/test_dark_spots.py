"""Content noise: what the masks are like, by closed forms and by counting."""

from __future__ import annotations

import numpy as np
import pytest

from metastyle_jax.stylization import dark_spots
from metastyle_jax.stylization.dark_spots import DEPTH, RADII, Spot


def drawn(seed: int) -> tuple[Spot, ...]:
    return dark_spots.draw_spots(np.random.default_rng(seed))


def minima(mask: np.ndarray) -> int:
    """Pixels that are darker than their eight neighbors."""
    padded = np.pad(mask, 1, constant_values=np.inf)
    height, width = mask.shape
    neighbors = [
        padded[1 + y : 1 + y + height, 1 + x : 1 + x + width]
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
        if (y, x) != (0, 0)
    ]
    return int((mask < np.min(neighbors, axis=0)).sum())


def test_one_to_nine_spots_each_number_about_as_often():
    spots = [drawn(seed) for seed in range(900)]
    counts = np.bincount([len(each) for each in spots], minlength=10)
    assert len(counts) == 10 and counts[0] == 0
    # 100 of each number, within five standard deviations
    assert np.abs(counts[1:] - 100).max() < 5 * np.sqrt(100 * 8 / 9)
    values = np.array([spot for each in spots for spot in each])
    least, most = values.min(axis=0), values.max(axis=0)
    np.testing.assert_allclose(least, [0, 0, RADII[0]], atol=2e-3)
    np.testing.assert_allclose(most, [1, 1, RADII[1]], atol=2e-3)


def test_apart_from_each_other_all_spots_are_seen():
    spots = [Spot(x, y, 0.06) for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)]
    for count in (1, 4, 9):
        mask = dark_spots.mask(spots[:count], 101, 101)
        assert minima(mask) == count
        assert mask.min() == pytest.approx(1 - DEPTH, abs=0.01)
        assert mask.max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_is_smooth_and_in_its_range(seed):
    spots, short = drawn(seed), 120
    mask = dark_spots.mask(spots, short, 160)
    assert mask.dtype == np.float32 and mask.shape == (120, 160)
    assert 1 - DEPTH - 1e-6 <= mask.min() < 0.3 and mask.max() <= 1
    assert 1 <= minima(mask) <= len(spots)
    # the steepest slope of a Gaussian is exp(-1/2) / deviation
    steepest = sum(DEPTH * np.exp(-0.5) / (spot.radius * short) for spot in spots)
    for axis in (0, 1):
        assert np.abs(np.diff(mask, axis=axis)).max() <= steepest


def test_one_spot_is_a_round_gaussian_also_on_a_long_picture():
    mask = dark_spots.mask([Spot(0.25, 0.5, 0.1)], 41, 121)
    y, x = np.mgrid[:41, :121] + 0.5
    distance = np.hypot(y - 20.5, x - 30.25) / 41
    np.testing.assert_allclose(mask, 1 - DEPTH * np.exp(-(distance**2) / 0.02), atol=1e-6)


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (50, 50)])
def test_all_sizes_look_alike(size):
    height, width = size
    for seed in range(5):
        small = dark_spots.mask(drawn(seed), height, width)
        large = dark_spots.mask(drawn(seed), 5 * height, 5 * width)
        shrunk = large.reshape(height, 5, width, 5).mean(axis=(1, 3))
        np.testing.assert_allclose(small, shrunk, atol=0.02)


def test_some_rows_are_those_of_the_whole_mask():
    mask = dark_spots.mask(drawn(3), 40, 30)
    np.testing.assert_array_equal(dark_spots.mask(drawn(3), 40, 30, np.arange(7, 19)), mask[7:19])
