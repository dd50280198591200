"""The grid that two upsamplings by 2 leave in pictures (Odena et al. 2016), as a loss.

A network of this kind can draw one thing on even and another on odd rows. A style loss does not
mind: a grid of 4 pixels looks to shallow features like any other fine texture.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

PERIOD = 4  # pixels: the network upsamples by 2 twice
WINDOW = 128  # pixels: in smaller ones, textures that are no grid weigh more than grids


def lattice(images: jax.Array) -> jax.Array:
    """Mean square of what repeats every 4 pixels along rows or columns; (N, H, W, C) -> (N,).

    It is measured in smooth windows of 128 pixels, or of the whole side where that is less, each of
    which overlaps the next by half. In a window everything counts that has a period of 4 or 2
    pixels in one direction and a period of 4, 2 or none in the other.

    Args:
      images: (N, H, W, C), H and W from 4 up.
    """
    rows, columns = (
        jnp.asarray(_waves(side), images.dtype).reshape(-1, side) for side in images.shape[1:3]
    )
    parts = jnp.einsum("ah,nhwc,bw->nabc", rows, images, columns)
    power = jnp.square(parts).reshape(-1, len(rows) // 4, 4, len(columns) // 4, 4, images.shape[3])
    power = power.mean(axis=(1, 3, 5))
    return power.sum(axis=(1, 2)) - power[:, 0, 0]  # without what is constant both ways


@functools.cache
def _waves(side: int) -> np.ndarray:
    """(windows, 4, side): the mean over each window, and the three waves with a period of 4.

    The product with a wave, squared, is the mean square of that wave in the window: of amplitude 1
    it is 1/2 for sine plus cosine, and 1 for the wave that alternates from pixel to pixel.
    """
    size = min(WINDOW, side // PERIOD * PERIOD)
    window = np.hanning(size + 1)[:size]
    turn = 2 * np.pi * np.arange(size) / PERIOD
    root = np.sqrt(2)
    waves = np.stack([np.ones(size), root * np.cos(turn), root * np.sin(turn), np.cos(2 * turn)])
    starts = range(0, side - size + 1, WINDOW // 2)
    out = np.zeros((len(starts), len(waves), side))
    for number, start in enumerate(starts):
        out[number, :, start : start + size] = waves * window / window.sum()
    return out
