"""Convolutions of the transformer network, NHWC and HWIO, and exact rewrites of the slow ones.

A rewrite computes the same sums in another order: equal to the direct form up to rounding in value
and in every derivative. They are made of linear operations that JAX transposes and linearises, so
forward-over-reverse differentiation works through them. They are jitted so that JAX traces and
differentiates each once per shape, not once per layer.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
WINOGRAD_TILE = 4
# fewer do not pay for the transforms
WINOGRAD_CHANNELS = 64


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Mirror `size` pixels beyond each border without repeating it; (N, H, W, C)."""
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Direct convolution without padding; (N, H, W, I) * (k, k, I, O)."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=DIMENSIONS
    )


@jax.jit
def convolve_quickly(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` with stride 1, in the form that is fastest where the program runs.

    XLA:CPU has no other algorithm than the direct sum; on accelerators the vendor's library
    chooses one itself. Few channels or pixels gain nothing, and bfloat16 is too coarse for
    Winograd's form.
    """
    rows, columns = (size - WINOGRAD_TILE - 1 for size in x.shape[1:3])
    small = min(rows, columns) < 0 or min(kernel.shape[2:]) < WINOGRAD_CHANNELS
    if kernel.shape[:2] != (3, 3) or small or x.dtype not in (np.float32, np.float64):
        return convolve(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=convolve_winograd, default=convolve)


def convolve_winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` of a 3x3 kernel with stride 1 by Winograd's minimal filtering (Lavin & Gray 2016).

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
    rows, columns = (-(-(size - 2) // WINOGRAD_TILE) for size in (height, width))
    side = WINOGRAD_TILE + 2
    # one product: as two small ones it takes as long as the convolution
    both = jnp.asarray(np.kron(_KERNEL_TRANSFORM, _KERNEL_TRANSFORM), kernel.dtype)
    filters = (both @ kernel.reshape(9, inputs * outputs)).reshape(side**2, inputs, outputs)
    tiles = jnp.stack(_combine(_INPUT_TRANSFORM, _overlapping(x, 1, rows)))
    tiles = jnp.stack(_combine(_INPUT_TRANSFORM, _overlapping(tiles, 3, columns)), axis=1)
    tiles = tiles.reshape(side**2, n * rows * columns, inputs)
    products = (tiles @ filters).reshape(side, side, n, rows, columns, outputs)
    y = jnp.stack(_combine(_OUTPUT_TRANSFORM, list(products)), axis=3)
    y = jnp.stack(_combine(_OUTPUT_TRANSFORM, list(y)), axis=4)
    y = y.reshape(n, rows * WINOGRAD_TILE, columns * WINOGRAD_TILE, outputs)
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
    """Entry 0 of every tile along `axis`, entry 1, ...; tiles begin every `WINOGRAD_TILE`."""
    size = WINOGRAD_TILE * (count + 1)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, size - x.shape[axis])
    shape = (*x.shape[:axis], count + 1, WINOGRAD_TILE, *x.shape[axis + 1 :])
    blocks = jnp.pad(x, widths).reshape(shape)
    entries = []
    for entry in range(WINOGRAD_TILE + 2):
        # the last two are the first two of the next tile
        block, within = divmod(entry, WINOGRAD_TILE)
        part = jax.lax.slice_in_dim(blocks, block, block + count, axis=axis)
        entries.append(jax.lax.index_in_dim(part, within, axis + 1, keepdims=False))
    return entries


@functools.partial(jax.jit, static_argnames="block")
def convolve_blocked(x: jax.Array, kernel: jax.Array, block: int = 4) -> jax.Array:
    """`convolve` with stride 1, computed as blocks of `block` x `block` outputs.

    For large kernels with few input or output channels (the 9x9 layers): with the pixels of a block
    as channels, on both sides, it is a convolution with a small kernel and stride 1, whose matrix
    products are wide enough to be fast, in both derivatives too, at the price of
    (k + block - 1)^2 / k^2 times the operations.

    Args:
      x: (N, H, W, I), H - k + 1 and W - k + 1 multiples of `block`.
      kernel: (k, k, I, O), k - 1 a multiple of `block`.

    Returns:
      (N, H - k + 1, W - k + 1, O).
    """
    size, _, inputs, outputs = kernel.shape
    shifted = [
        jnp.pad(kernel, ((row, block - 1 - row), (column, block - 1 - column), (0, 0), (0, 0)))
        for row in range(block)
        for column in range(block)
    ]
    taps = (size + block - 1) // block
    wide = jnp.concatenate(shifted, axis=-1).reshape(taps, block, taps, block, inputs, -1)
    wide = wide.transpose(0, 2, 1, 3, 4, 5).reshape(taps, taps, block**2 * inputs, -1)
    y = convolve(_space_to_depth(x, block), wide)
    n, h, w, _ = y.shape
    y = y.reshape(n, h, w, block, block, outputs).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h * block, w * block, outputs)


def _space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """(N, H, W, C) -> (N, H / block, W / block, block * block * C)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // block, w // block, block * block * c)


def upsample_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest-neighbour x2, reflection padding by 1, 3x3 convolution: the direct form.

    Args:
      x: (N, H, W, I).
      kernel: (3, 3, I, O).

    Returns:
      (N, 2H, 2W, O).
    """
    doubled = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return convolve(reflect_pad(doubled, 1), kernel)


@jax.jit
def upsample_convolve_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`upsample_convolve` as four 2x2 convolutions at the low resolution, 4/9 of the operations.

    Of three neighbouring upsampled rows two are copies of one row, so the kernel rows that meet
    them add up. The reflected border row is a copy of the border row itself: edge padding.
    """
    n, h, w, _ = x.shape
    outputs = kernel.shape[-1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    phases = []
    for row in range(2):
        rows = _merge(kernel, row, axis=0)
        for column in range(2):
            window = padded[:, row : row + h + 1, column : column + w + 1]
            phases.append(convolve(window, _merge(rows, column, axis=1)))
    y = jnp.stack(phases, axis=3).reshape(n, h, w, 2, 2, outputs)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, outputs)


def _merge(kernel: jax.Array, phase: int, axis: int) -> jax.Array:
    first, middle, last = jnp.split(kernel, 3, axis=axis)
    pair = (first, middle + last) if phase == 0 else (first + middle, last)
    return jnp.concatenate(pair, axis=axis)
