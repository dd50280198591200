"""Convolutions with 3x3 kernels by Winograd's minimal filtering, NHWC and HWIO."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with stride 1, without padding (Lavin & Gray 2016).

    Each tile of 6x6 inputs gives 4x4 outputs by 36 products instead of 144. In the transformed
    domain the convolution and both its derivatives are one batched matrix product. Rounding is
    three times that of the direct sum.

    Args:
      x: (N, H, W, I).
      kernel: (3, 3, I, O).

    Returns:
      (N, H - 2, W - 2, O).
    """
    n, height, width, inputs = x.shape
    outputs = kernel.shape[-1]
    rows, columns = (-(-(size - 2) // TILE) for size in (height, width))
    side = TILE + 2
    # one product: as two small ones it takes as long as the convolution
    both = jnp.asarray(np.kron(_KERNEL_TRANSFORM, _KERNEL_TRANSFORM), kernel.dtype)
    filters = (both @ kernel.reshape(9, inputs * outputs)).reshape(side**2, inputs, outputs)
    tiles = jnp.stack(_combine(_INPUT_TRANSFORM, _overlapping(x, 1, rows)))
    tiles = jnp.stack(_combine(_INPUT_TRANSFORM, _overlapping(tiles, 3, columns)), axis=1)
    tiles = tiles.reshape(side**2, n * rows * columns, inputs)
    products = (tiles @ filters).reshape(side, side, n, rows, columns, outputs)
    y = jnp.stack(_combine(_OUTPUT_TRANSFORM, list(products)), axis=3)
    y = jnp.stack(_combine(_OUTPUT_TRANSFORM, list(y)), axis=4)
    y = y.reshape(n, rows * TILE, columns * TILE, outputs)
    return y[:, : height - 2, : width - 2]


def _cook_toom(points: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transforms (input, kernel, output) of the minimal filter with 3 taps.

    Its n = len(points) + 1 products are values of polynomials at `points` and at infinity: n
    inputs to n - 2 outputs.
    """
    n = len(points) + 1
    factors = [[point - other for other in points if other != point] for point in points]
    powers = np.vander(points, n - 2, increasing=True)
    kernel = np.vander(points, 3, increasing=True) / np.prod(factors, axis=1, keepdims=True)
    basis = [np.poly([other for other in points if other != point])[::-1] for point in points]
    inputs = np.vstack([np.pad(basis, ((0, 0), (0, 1))), np.poly(points)[::-1]])
    infinity = np.eye(n)[-1]
    return inputs, np.vstack([kernel, infinity[-3:]]), np.vstack([powers, infinity[2:]]).T


# a third of the rounding of the usual (0, 1, -1, 2, -2), and exact in binary
_INPUT_TRANSFORM, _KERNEL_TRANSFORM, _OUTPUT_TRANSFORM = _cook_toom((0, 0.75, -0.75, 1.5, -1.5))


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Every row's sum of the parts, without the terms that are zero."""
    sums = []
    for row in matrix:
        terms = [
            part if factor == 1 else factor * part
            for factor, part in zip(row.tolist(), parts, strict=True)
            if factor
        ]
        sums.append(sum(terms[1:], start=terms[0]))
    return sums


def _overlapping(x: jax.Array, axis: int, count: int) -> list[jax.Array]:
    """Entry 0 of every tile along `axis`, entry 1, ...; tiles begin every `TILE`."""
    size = TILE * (count + 1)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, size - x.shape[axis])
    shape = (*x.shape[:axis], count + 1, TILE, *x.shape[axis + 1 :])
    blocks = jnp.pad(x, widths).reshape(shape)
    entries = []
    for entry in range(TILE + 2):
        # the last two are the first two of the next tile
        block, within = divmod(entry, TILE)
        part = jax.lax.slice_in_dim(blocks, block, block + count, axis=axis)
        entries.append(jax.lax.index_in_dim(part, within, axis + 1, keepdims=False))
    return entries
