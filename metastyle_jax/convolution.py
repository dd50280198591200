"""Convolutions of the transformer network, NHWC and HWIO, and exact rewrites of the slow ones.

A rewrite computes the same sums in another order: equal to the direct form up to rounding in value
and in every derivative. They are made of linear operations that JAX transposes and linearises, so
forward-over-reverse differentiation works through them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Mirror `size` pixels beyond each border without repeating it; (N, H, W, C)."""
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Direct convolution without padding; (N, H, W, I) * (k, k, I, O)."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=DIMENSIONS
    )


def convolve_blocked(x: jax.Array, kernel: jax.Array, block: int = 4) -> jax.Array:
    """`convolve` with stride 1, computed as blocks of `block` x `block` outputs.

    For large kernels with few input or output channels (the 9x9 layers): one strided convolution
    gives all outputs of a block as channels, so that the matrix products are wide enough to be
    fast, at the price of (k + block - 1)^2 / k^2 times the operations.

    Args:
      x: (N, H, W, I), H - k + 1 and W - k + 1 multiples of `block`.
      kernel: (k, k, I, O).

    Returns:
      (N, H - k + 1, W - k + 1, O).
    """
    n, _, _, _ = x.shape
    outputs = kernel.shape[-1]
    shifted = [
        jnp.pad(kernel, ((row, block - 1 - row), (column, block - 1 - column), (0, 0), (0, 0)))
        for row in range(block)
        for column in range(block)
    ]
    wide = jnp.concatenate(shifted, axis=-1)
    y = convolve(x, wide, stride=block)
    _, h, w, _ = y.shape
    y = y.reshape(n, h, w, block, block, outputs).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h * block, w * block, outputs)


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
