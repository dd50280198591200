"""Distorted pictures: in range, all of them changed, a function of the key."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from metastyle_jax.data.procedural import drawn_source
from metastyle_jax.features.training import distortion


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.stack([np.asarray(drawn_source.style_image(seed, 48)) for seed in range(8)])


def test_every_picture_is_changed_and_stays_in_range(pictures):
    distort = jax.jit(distortion.distort)
    for seed in range(4):
        found = np.asarray(distort(jax.random.key(seed), pictures))
        assert found.shape == pictures.shape and found.dtype == np.float32
        assert found.min() >= 0 and found.max() <= 1
        assert np.abs(found - pictures).mean(axis=(1, 2, 3)).min() > 1e-3
    np.testing.assert_array_equal(found, distort(jax.random.key(3), pictures))


def test_scrambling_keeps_mean_and_spectrum(pictures, monkeypatch):
    monkeypatch.setattr(distortion, "_strengths", lambda key, images, low, high: np.float32(1))
    found = np.asarray(distortion._scramble(jax.random.key(0), pictures))
    np.testing.assert_allclose(found.mean(axis=(1, 2)), pictures.mean(axis=(1, 2)), atol=1e-5)
    ours, theirs = (np.abs(np.fft.fft2(x, axes=(1, 2))) for x in (found, pictures))
    np.testing.assert_allclose(ours[:, 1:], theirs[:, 1:], rtol=1e-3, atol=1e-3)
    assert np.abs(found - pictures).mean() > 0.05


def test_sharpening_a_plain_picture_changes_nothing():
    plain = np.full((1, 16, 16, 3), 0.3, np.float32)
    np.testing.assert_allclose(distortion._sharpen(jax.random.key(0), plain), plain, atol=1e-6)
