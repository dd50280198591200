"""Convolutions of the stylization network, NHWC and HWIO, and exact rewrites of the slow ones.

A rewrite computes the same sums in another order: equal to the direct form up to rounding in value
and in every derivative. They are made of linear operations that JAX transposes and linearizes, so
forward-over-reverse differentiation works through them. They are jitted so that JAX traces and
differentiates each once per shape, not once per layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from metastyle_jax.networks import convolution_forms, winograd

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Form = Callable[[jax.Array, jax.Array], jax.Array]


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Mirror `size` pixels beyond each border without repeating it; (N, H, W, C)."""
    widths = ((size, size), (size, size), (0, 0))
    # each image alone, because `jnp.pad` of JAX 0.8 must know that a symbolic N is more than 1
    return jax.vmap(lambda image: jnp.pad(image, widths, mode="reflect"))(x)


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Direct convolution without padding; (N, H, W, I) * (k, k, I, O)."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=DIMENSIONS
    )


def convolve_quickly(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` with stride 1, in the form that is fastest where the program runs.

    XLA:CPU has no other algorithm than the direct sum; on accelerators the vendor's library
    chooses one itself. Few channels or pixels gain nothing, and bfloat16 is too coarse for
    Winograd's form.
    """
    # side by side, because of two symbolic sizes nobody knows which is smaller
    short = any(side < winograd.TILE + 2 for side in x.shape[1:3])
    fewest = convolution_forms.used().winograd_channels
    small = short or not fewest or min(kernel.shape[2:]) < fewest
    if kernel.shape[:2] != (3, 3) or small or x.dtype not in (np.float32, np.float64):
        return convolve(x, kernel)
    return _convolve_3x3.bind(x, kernel)


# A primitive of its own, because the derivative of Winograd's form by JAX's rules adds up
# overlapping tiles, which is slower than the direct sum. This one's are convolutions again. It also
# becomes Winograd's form or the direct one only when it is lowered for a platform.
_convolve_3x3 = Primitive("convolve_3x3")
_convolve_3x3.def_impl(jax.jit(_convolve_3x3.bind))


@_convolve_3x3.def_abstract_eval
def _shape(x: Any, kernel: Any) -> ShapedArray:
    n, height, width, _ = x.shape
    return ShapedArray((n, height - 2, width - 2, kernel.shape[-1]), x.dtype)


def _transpose_x(cotangent: jax.Array, x: Any, kernel: jax.Array) -> jax.Array:
    padded = jnp.pad(cotangent, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return _convolve_3x3.bind(padded, kernel[::-1, ::-1].swapaxes(2, 3))


def _transpose_kernel(cotangent: jax.Array, x: jax.Array, kernel: Any) -> jax.Array:
    shape = (3, 3, x.shape[-1], cotangent.shape[-1])
    zero = jax.ShapeDtypeStruct(shape, x.dtype)
    return jax.linear_transpose(functools.partial(convolve, x), zero)(cotangent)[0]


def _batch(arguments: Sequence[jax.Array], axes: Sequence[int | None]) -> tuple[jax.Array, int]:
    x, kernel = arguments
    if axes[1] is None:
        assert axes[0] is not None  # one of the two is mapped
        x = jnp.moveaxis(x, axes[0], 0)
        y = _convolve_3x3.bind(x.reshape(-1, *x.shape[2:]), kernel)
        return y.reshape(x.shape[0], -1, *y.shape[1:]), 0
    return jax.vmap(_by_platform, axes)(x, kernel), 0


def _by_platform(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(x, kernel, cpu=winograd.convolve, default=convolve)


ad.defbilinear(_convolve_3x3, _transpose_x, _transpose_kernel)
batching.primitive_batchers[_convolve_3x3] = _batch
# jitted: traced once per shape
mlir.register_lowering(_convolve_3x3, mlir.lower_fun(jax.jit(_by_platform), multiple_results=False))


def convolve_picture(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` with stride 1 of few input channels and a large kernel.

    The products of accelerators want wide channels. CPUs take 0.75 times as long for the direct
    sum, except for its derivative by `x`, which nothing needs where `x` is a picture.
    """
    in_blocks = convolution_forms.used().first_in_blocks
    return _rewritten(x, kernel, convolve_blocked, convolve, on_cpu=in_blocks)


def convolve_to_picture(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` with stride 1 of few output channels and a large kernel."""
    in_blocks = convolution_forms.used().last_in_blocks
    return _rewritten(x, kernel, convolve_blocked, convolve, on_cpu=in_blocks)


def _rewritten(
    x: jax.Array, kernel: jax.Array, rewrite: Form, direct: Form, *, on_cpu: bool
) -> jax.Array:
    """The rewrite, but on CPUs the direct form where the rewrite is not the faster one there."""
    if on_cpu:
        return rewrite(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=direct, default=rewrite)


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
    """Nearest-neighbor x2, reflection padding by 1, 3x3 convolution: the direct form.

    Args:
      x: (N, H, W, I).
      kernel: (3, 3, I, O).

    Returns:
      (N, 2H, 2W, O).
    """
    doubled = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    return convolve(reflect_pad(doubled, 1), kernel)


def upsample_convolve_quickly(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`upsample_convolve` in the form that is fastest where the program runs.

    The reflected border row is a copy of the border row itself: edge padding.
    """
    return upsample_convolve_padded(_edge_pad(x), kernel)


def upsample_convolve_padded(padded: jax.Array, kernel: jax.Array) -> jax.Array:
    """`upsample_convolve` of pixels whose neighbors are known.

    Args:
      padded: (N, H + 2, W + 2, I), the pixels with one neighbor on each side.
      kernel: (3, 3, I, O).

    Returns:
      (N, 2H, 2W, O).
    """
    in_phases = convolution_forms.used().upsampling_in_phases
    return _rewritten(padded, kernel, upsample_in_phases, upsample_directly, on_cpu=in_phases)


def upsample_directly(padded: jax.Array, kernel: jax.Array) -> jax.Array:
    """`upsample_convolve_padded` as the direct sum."""
    doubled = jnp.repeat(jnp.repeat(padded, 2, axis=1), 2, axis=2)
    return convolve(doubled[:, 1:-1, 1:-1], kernel)


@jax.jit
def upsample_in_phases(padded: jax.Array, kernel: jax.Array) -> jax.Array:
    """`upsample_convolve_padded` as four 2x2 convolutions at the low resolution.

    4/9 of the operations: of three neighboring upsampled rows two are copies of one row, so the
    kernel rows that meet them add up.
    """
    n, h, w = padded.shape[0], padded.shape[1] - 2, padded.shape[2] - 2
    outputs = kernel.shape[-1]
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


def blur(x: jax.Array) -> jax.Array:
    """Weights (1, 2, 1) / 4 along rows and columns, edge padding by 1; (N, H, W, C).

    Takes away what alternates from pixel to pixel, and leaves constants as they are.
    """
    return blur_padded(_edge_pad(x))


@jax.jit
def blur_padded(padded: jax.Array) -> jax.Array:
    """`blur` of pixels whose neighbors are known; (N, H + 2, W + 2, C) -> (N, H, W, C)."""
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16


def _edge_pad(x: jax.Array) -> jax.Array:
    """Repeat the border pixels once; (N, H, W, C)."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
