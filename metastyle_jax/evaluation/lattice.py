"""Checkerboard artifacts: regular grids that upsampling leaves in pictures (Odena et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

PERIOD = 4  # pixels: the network upsamples by 2 twice
PEAK = 1  # bins on either side of a frequency that belong to its peak
AROUND = range(3, 9)  # bins on either side that the peak is compared with
MINIMUM_SIZE = 64  # pixels; in smaller pictures the bins around two frequencies overlap


def lattice(images: np.ndarray) -> np.ndarray:
    """Power at periods of 4 and 2 pixels divided by the power around them; 1 without artifacts.

    The spectrum of a picture without artifacts is smooth around these frequencies. The power around
    is measured along rows and along columns of the spectrum, and the larger one counts, because
    straight lines in a picture fill one row or column of its spectrum.

    Args:
      images: (N, H, W, 3) in [0, 1].

    Returns:
      (N,); NaN for pictures below 64 pixels.
    """
    if min(images.shape[1:3]) < MINIMUM_SIZE:
        return np.full(len(images), np.nan)
    height, width = (PERIOD * (side // PERIOD) for side in images.shape[1:3])
    gray = np.asarray(images[:, :height, :width], np.float64).mean(axis=-1)
    gray -= gray.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(height)[None, :, None] * np.hanning(width)[None, None, :]
    power = np.abs(np.fft.fft2(gray * window)) ** 2
    pairs = [_peak_and_around(power, *frequency) for frequency in _frequencies(height, width)]
    peaks, around = np.sum(pairs, axis=0)
    return peaks / np.maximum(around, np.finfo(np.float64).tiny)


def _frequencies(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Bins of all frequencies with a period of 4 or 2 pixels in a direction."""
    for row in range(0, height, height // PERIOD):
        for column in range(0, width, width // PERIOD):
            if row or column:
                yield row, column


def _peak_and_around(power: np.ndarray, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean power (N,) at one frequency and around it."""
    near = np.arange(-PEAK, PEAK + 1)
    far = np.array([sign * offset for offset in AROUND for sign in (-1, 1)])

    def mean(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        chosen = power.take(row + rows, axis=1, mode="wrap")
        return chosen.take(column + columns, axis=2, mode="wrap").mean(axis=(1, 2))

    return mean(near, near), np.maximum(mean(near, far), mean(far, near))
