"""Convolutions with 3x3 kernels by Winograd's minimal filtering, NHWC and HWIO."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4

# Of the transformed tiles and products. What no cache holds takes two to three times as long
# (benchmarks/convolution_forms.py); more than the first number is done in pieces of the second.
WHOLE_BYTES, PIECE_BYTES = 30_000_000, 10_000_000


def convolve(x: jax.Array, kernel: jax.Array, padding: int = 0) -> jax.Array:
    """Convolution with stride 1 (Lavin & Gray 2016).

    Each tile of 6x6 inputs gives 4x4 outputs by 36 products instead of 144. In the transformed
    domain the convolution and both its derivatives are one batched matrix product. Rounding is
    three times that of the direct sum. Large arrays pass through it in pieces, see `PIECE_BYTES`.

    Args:
      x: (N, H, W, I).
      kernel: (3, 3, I, O).
      padding: zeros P on each side.

    Returns:
      (N, H + 2 P - 2, W + 2 P - 2, O).
    """
    filters = _transformed(kernel)
    n, height, width, inputs = x.shape
    height, width = height + 2 * padding - 2, width + 2 * padding - 2  # of the output
    piece = _piece(n, height, width, filters)
    if piece is None:
        return _convolve(x, filters, (padding, padding), height, width)
    images, strip = piece
    strips = -(-height // strip)
    if strips == 1:
        before, given = (padding, padding), x.shape[1]
    else:
        before, given = (0, padding), strip + 2
        after = strips * strip + 2 - padding - x.shape[1]
        x = jnp.pad(x, ((0, 0), (padding, after), (0, 0), (0, 0)))

    def one(number: jax.Array) -> jax.Array:
        start = (number // strips * images, number % strips * strip, 0, 0)
        part = jax.lax.dynamic_slice(x, start, (images, given, x.shape[2], inputs))
        return _convolve(part, filters, before, strip, width)

    y = jax.lax.map(one, jnp.arange(n // images * strips))
    return y.reshape(n, strips * strip, width, -1)[:, :height]


def _transformed(kernel: jax.Array) -> jax.Array:
    """(3, 3, I, O) to (36, I, O)."""
    # one product: as two small ones it takes as long as the convolution
    both = jnp.asarray(np.kron(_KERNEL_TRANSFORM, _KERNEL_TRANSFORM), kernel.dtype)
    return (both @ kernel.reshape(9, -1)).reshape(-1, *kernel.shape[2:])


def _piece(n: int, height: int, width: int, filters: jax.Array) -> tuple[int, int] | None:
    """Images of a piece, and rows of pixels of each; None if all is one piece.

    Several images are whole; one image may be in strips, of equal numbers of rows if that leaves
    them large enough. Kernels that are larger than a piece would be read again for each.
    """
    if not all(isinstance(size, int) for size in (n, height, width)):
        return None  # symbolic: of any size
    rows, columns = (-(-size // TILE) for size in (height, width))
    each = columns * len(filters) * sum(filters.shape[1:]) * filters.dtype.itemsize
    if n * rows * each <= WHOLE_BYTES:
        return None
    fitting = max(1, max(PIECE_BYTES, filters.nbytes) // each)  # rows of tiles
    if fitting >= rows:
        images = _largest_divisor(n, fitting // rows)
        return None if images == n else (images, height)
    exact = _largest_divisor(rows, fitting)
    strip = exact if 2 * exact >= fitting else -(-rows // -(-rows // fitting))
    return 1, strip * TILE


def _largest_divisor(number: int, most: int) -> int:
    return max(each for each in range(1, min(number, most) + 1) if number % each == 0)


def _convolve(
    x: jax.Array, filters: jax.Array, before: tuple[int, int], height: int, width: int
) -> jax.Array:
    """(N, h, w, I) with the transformed kernel (36, I, O) to (N, height, width, O).

    `before` are the zeros in front of rows and columns.
    """
    n, inputs = x.shape[0], x.shape[-1]
    rows, columns = (-(-size // TILE) for size in (height, width))
    side = TILE + 2
    tiles = jnp.stack(_combine(_INPUT_TRANSFORM, _overlapping(x, 1, rows, before[0])))
    tiles = _combine(_INPUT_TRANSFORM, _overlapping(tiles, 3, columns, before[1]))
    tiles = jnp.stack(tiles, axis=1).reshape(side**2, n * rows * columns, inputs)
    products = (tiles @ filters).reshape(side, side, n, rows, columns, -1)
    y = jnp.stack(_combine(_OUTPUT_TRANSFORM, list(products)), axis=3)
    y = jnp.stack(_combine(_OUTPUT_TRANSFORM, list(y)), axis=4)
    y = y.reshape(n, rows * TILE, columns * TILE, -1)
    return y[:, :height, :width]


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


def _overlapping(x: jax.Array, axis: int, count: int, before: int) -> list[jax.Array]:
    """Entry 0 of every tile along `axis`, entry 1, ...; tiles begin every `TILE`.

    The first one begins `before` places in front of `x`, where zeros are.
    """
    size = TILE * (count + 1)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, size - before - x.shape[axis])
    shape = (*x.shape[:axis], count + 1, TILE, *x.shape[axis + 1 :])
    blocks = jnp.pad(x, widths).reshape(shape)
    entries = []
    for entry in range(TILE + 2):
        # the last two are the first two of the next tile
        block, within = divmod(entry, TILE)
        part = jax.lax.slice_in_dim(blocks, block, block + count, axis=axis)
        entries.append(jax.lax.index_in_dim(part, within, axis + 1, keepdims=False))
    return entries
