"""Smooth random fields and color ramps: the raw material of the procedural pictures.

All fields are square, float32, of shape (n, n), with row 0 at the top.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image


def coordinates(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centers (y, x), each (n, n), from 0 at the top left to 1 at the bottom right."""
    line = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(n)
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


def smooth_noise(rng: np.random.Generator, n: int, cells_y: float, cells_x: float) -> np.ndarray:
    """Bicubically interpolated lattice noise (n, n), roughly in [-1, 1].

    `cells_y` and `cells_x` are how many bumps fit along each side.
    """
    rows, columns = int(np.ceil(cells_y)) + 3, int(np.ceil(cells_x)) + 3
    lattice = Image.fromarray(rng.uniform(-1.2, 1.2, (rows, columns)).astype(np.float32))
    # The margin keeps the interpolation away from the lattice's edge.
    box = (1.0, 1.0, 1.0 + cells_x, 1.0 + cells_y)
    return np.asarray(lattice.resize((n, n), Image.Resampling.BICUBIC, box))


def fractal_noise(
    rng: np.random.Generator,
    n: int,
    cells: float,
    octaves: int = 4,
    gain: float = 0.5,
    stretch: float = 1.0,
) -> np.ndarray:
    """Sum of `octaves` of `smooth_noise`, each twice as fine and `gain` times as strong.

    (n, n), roughly in [-1, 1]. `stretch` above 1 draws the bumps out horizontally.
    """
    total = np.zeros((n, n), np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        fine = cells * 2.0**octave
        if fine > n:
            break
        total += np.float32(weight) * smooth_noise(rng, n, fine, max(0.5, fine / stretch))
        weights += weight
        weight *= gain
    return total / np.float32(0.7 * max(weights, 1e-6))


def ridge_line(rng: np.random.Generator, n: int, cells: float, gain: float = 0.5) -> np.ndarray:
    """A random skyline (n,), roughly in [-1, 1]; `gain` is its roughness."""
    x = np.linspace(0.0, 1.0, n)
    total, weight = np.zeros(n), 1.0
    while cells < n:
        knots = rng.uniform(-1.0, 1.0, int(np.ceil(cells)) + 2)
        position = x * cells
        index = position.astype(int)
        t = position - index
        t = t * t * (3.0 - 2.0 * t)
        total += weight * (knots[index] * (1.0 - t) + knots[index + 1] * t)
        cells, weight = cells * 2.1, weight * gain
    return (total * (1.0 - gain)).astype(np.float32)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Rises from 0 at `low` to 1 at `high`, with flat ends."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def ramp(colors: Sequence[Sequence[float]] | np.ndarray, t: np.ndarray) -> np.ndarray:
    """Colors (k, 3) spread over [0, 1] and looked up at `t` (...): (..., 3) float32."""
    table = np.asarray(colors, np.float32)
    # A table of 256 steps is several times faster than interpolating every pixel.
    fine = np.linspace(0.0, 1.0, 256)
    knots = np.linspace(0.0, 1.0, len(table))
    lookup = np.stack([np.interp(fine, knots, table[:, c]) for c in range(3)], axis=1)
    return lookup.astype(np.float32)[(np.clip(t, 0.0, 1.0) * 255.0).astype(np.uint8)]


def blend(image: np.ndarray, color: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lays `color`, (3,) or (n, n, 3), over `image` (n, n, 3) where `mask` (n, n) is 1."""
    return image + mask[..., None] * (np.asarray(color, np.float32) - image)


def shift(field: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Reads `field` (n, n, ...) at pixel offsets (n, n) or broadcastable: nearest, mirrored."""
    n = field.shape[0]
    line = np.arange(n, dtype=np.float32)
    rows = _mirrored(np.rint(line[:, None] + dy).astype(np.int32), n)
    columns = _mirrored(np.rint(line[None, :] + dx).astype(np.int32), n)
    return field[rows, columns]


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    index = np.abs(index) % (2 * n)
    return np.where(index >= n, 2 * n - 1 - index, index)


def halve(image: np.ndarray) -> np.ndarray:
    """Averages 2x2 blocks: (2n, 2n, 3) to (n, n, 3)."""
    n = image.shape[0] // 2
    return image.reshape(n, 2, n, 2, 3).mean(axis=(1, 3), dtype=np.float32)
