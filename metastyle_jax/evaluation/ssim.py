"""Structural similarity (SSIM): how much of the content's structure a picture keeps."""

from __future__ import annotations

from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np

WINDOW = 11  # pixels
SIGMA = 1.5
STABILIZERS = (0.01**2, 0.03**2)  # (K L)^2 for pictures in [0, 1]


def ssim(x: jax.Array, y: jax.Array) -> jax.Array:
    """Structural similarity of gray levels (Wang et al. 2004), 1 for equal pictures.

    Gaussian windows of 11 pixels with standard deviation 1.5; no padding.

    Args:
      x, y: (N, H, W, 3) in [0, 1], sides of 11 pixels or more.

    Returns:
      (N,) mean over positions, in [-1, 1].
    """
    x, y = (_gray(z) for z in (x, y))
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = STABILIZERS
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(axis=(1, 2))


def _gray(images: jax.Array) -> jax.Array:
    """Luma of ITU-R BT.601, (N, H, W)."""
    return images @ jnp.asarray((0.299, 0.587, 0.114), images.dtype)


def _blur(x: jax.Array) -> jax.Array:
    """(N, H, W) to (N, H - 10, W - 10)."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * SIGMA**2))
    window = jnp.asarray(window / window.sum(), x.dtype)
    height, width = x.shape[1] - WINDOW + 1, x.shape[2] - WINDOW + 1
    rows = reduce(add, (window[i] * x[:, i : height + i] for i in range(WINDOW)))
    return reduce(add, (window[i] * rows[:, :, i : width + i] for i in range(WINDOW)))
