"""The stylization network in tiles, one convolution of the whole picture after the other.

Instance norms need the mean and the variance of the whole picture. So the picture passes through
the network convolution by convolution: each program below makes one tile of one convolution's
output and its moments; the caller joins the moments of all tiles before the next convolution.

All programs have fixed shapes. Where the true border of the picture lies is data: a picture of any
size runs the same programs. What is drawn equals `stylization_network.stylize` up to rounding.

A tile has T x T pixels of the picture, T a multiple of 4, and T / 4 a side in the middle of the
network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.networks import convolution
from metastyle_jax.networks.stylization_network import EPSILON, UP1, Weights

# pixels around a tile that its programs read
ENCODER_HALO = 8
RESIDUAL_HALO = 1
DECODER_HALO = 3


class Norm(NamedTuple):
    """An instance norm whose moments are known: (y - mean) * gain + bias.

    Attributes:
      mean: (C,).
      gain, bias: (C,), or (K, C) for K styles that masks choose from.
    """

    mean: jax.Array
    gain: jax.Array
    bias: jax.Array


class Moments(NamedTuple):
    """Of one convolution's output in one tile, over the pixels inside of the picture.

    Attributes:
      mean: (C,).
      squares: (C,), the sum of squared distances from the mean.
    """

    mean: jax.Array
    squares: jax.Array


class Frame(NamedTuple):
    """Where a tile lies, in pixels of the picture, all multiples of 4.

    Attributes:
      top, left: () int32, the first row and column of the tile.
      height, width: () int32, of the whole picture.
    """

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array

    def at(self, stride: int) -> Frame:
        """The frame at a lower resolution."""
        return Frame(*(value // stride for value in self))


def known_norm(mean: Any, variance: Any, scale: Any, bias: Any) -> Norm:
    """The norm of a convolution, from the moments (C,) of the whole picture and the style's leaves.

    Args:
      mean, variance: (C,).
      scale, bias: (C,), or (K, C) for K styles.
    """
    return Norm(mean, scale / np.sqrt(variance + EPSILON), bias)


def moments_of(tile: jax.Array, frame: Frame) -> Moments:
    """Moments of a tile (1, T, T, C), the frame at its resolution."""
    inside = _inside(frame.top, frame.height, tile.shape[1])[:, None]
    inside = (inside & _inside(frame.left, frame.width, tile.shape[2])[None])[None, :, :, None]
    count = inside.sum(dtype=tile.dtype)
    mean = jnp.where(inside, tile, 0).sum(axis=(0, 1, 2)) / count
    distance = jnp.where(inside, tile - mean[None, None, None], 0)
    return Moments(mean, jnp.square(distance).sum(axis=(0, 1, 2)))


def _inside(start: jax.Array, size: jax.Array, count: int) -> jax.Array:
    return start + jnp.arange(count) < size


def normalize(y: jax.Array, norm: Norm, masks: jax.Array | None) -> jax.Array:
    """Apply a norm to (1, H, W, C); `masks` (1, H, W, K) if it is of K styles."""
    if masks is None:
        gain, bias = norm.gain[None, None, None], norm.bias[None, None, None]
    else:
        gain, bias = masks @ norm.gain, masks @ norm.bias
    return (y - norm.mean[None, None, None]) * gain + bias


def _normalize_relu(
    y: jax.Array, name: str, norms: Mapping[str, Norm], masks: jax.Array | None
) -> jax.Array:
    return jax.nn.relu(normalize(y, norms[f"{name}_norm"], masks))


def encode(
    weights: Weights,
    norms: Mapping[str, Norm],
    image: jax.Array,
    masks: Mapping[int, jax.Array] | None,
    frame: Frame,
    *,
    convolutions: int,
) -> tuple[jax.Array, Moments]:
    """The first one, two or three convolutions of a tile.

    Args:
      weights: of the network.
      norms: of the convolutions before the last one.
      image: (1, T + 12, T + 12, 3), from `ENCODER_HALO` pixels before the tile on, reflected
        at the borders of the picture.
      masks: None for one style; or weights of K styles by stride, {1: (1, T + 4, T + 4, K),
        2: (1, T / 2 + 1, T / 2 + 1, K)}, that end with the tile.
      frame: of the tile.
      convolutions: 1, 2 or 3.

    Returns:
      The last convolution's output, (1, T, T, C) at its stride, without its norm; and its
      moments.
    """
    masks = masks or {}
    y = _convolve("conv1", weights, convolution.convolve_blocked, image)  # from pixel -4 on
    if convolutions == 1:
        y = y[:, 4:, 4:]
        return y, moments_of(y, frame)
    x = _normalize_relu(y, "conv1", norms, masks.get(1))
    x = _fill(x, frame, 4, "reflect")[:, 1:, 1:]
    y = _convolve("conv2", weights, _halve, x)  # from pixel -1 of the half resolution on
    if convolutions == 2:
        y = y[:, 1:, 1:]
        return y, moments_of(y, frame.at(2))
    x = _normalize_relu(y, "conv2", norms, masks.get(2))
    y = _convolve("conv3", weights, _halve, _fill(x, frame.at(2), 1, "reflect"))
    return y, moments_of(y, frame.at(4))


def _halve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolution.convolve(x, kernel, 2)


def _convolve(name: str, weights: Weights, function: Callable, x: jax.Array) -> jax.Array:
    layer = weights[name]
    return function(x, layer["kernel"]) + layer["bias"][None, None, None]


def residual_convolution(
    layer: Mapping[str, jax.Array],
    norm: Norm | None,
    x: jax.Array,
    masks: jax.Array | None,
    frame: Frame,
) -> tuple[jax.Array, Moments]:
    """One convolution of a residual block.

    Args:
      layer: its kernel and bias.
      norm: of the convolution before it, in the same block; None for the block's first.
      x: (1, T / 4 + 2, T / 4 + 2, C), from `RESIDUAL_HALO` pixels before the tile on, reflected
        at the borders.
      masks: None, or (1, T / 4 + 2, T / 4 + 2, K).
      frame: of the tile.

    Returns:
      Its output, (1, T / 4, T / 4, C), without its norm; and its moments.
    """
    if norm is not None:
        x = jax.nn.relu(normalize(x, norm, masks))
    y = convolution.convolve_quickly(x, layer["kernel"]) + layer["bias"][None, None, None]
    return y, moments_of(y, frame.at(4))


def add_block(x: jax.Array, y: jax.Array, norm: Norm, masks: jax.Array | None) -> jax.Array:
    """The end of a residual block: x plus the norm of its second convolution.

    Args:
      x, y: (1, T / 4, T / 4, C).
      norm: of `y`.
      masks: None, or (1, T / 4, T / 4, K).
    """
    return x + normalize(y, norm, masks)


def decode(
    weights: Weights,
    norms: Mapping[str, Norm],
    x: jax.Array,
    masks: Mapping[int, jax.Array] | None,
    frame: Frame,
    *,
    convolutions: int,
) -> tuple[jax.Array, Moments | None]:
    """The last three convolutions of a tile, or the first one or two of them.

    Args:
      weights: of the network.
      norms: of the convolutions before the last one.
      x: (1, T / 4 + 6, T / 4 + 6, C), what the residual blocks made, from `DECODER_HALO` pixels
        before the tile on, its border pixels repeated beyond the borders of the picture.
      masks: None for one style; or weights of K styles by stride, {2: (1, T / 2 + 8, T / 2 +
        8, K), 1: (1, T + 8, T + 8, K)}, 4 more on each side than the tile.
      frame: of the tile.
      convolutions: 1, 2 or 3.

    Returns:
      The convolution's output, (1, T, T, C) at its stride, and its moments; with all three,
      the picture (1, T, T, 3) in [0, 1] and None.
    """
    masks = masks or {}
    blurs = UP1[True] in weights
    y = _convolve(UP1[blurs], weights, convolution.upsample_convolve_padded, x)  # from -4 on
    half = frame.at(2)
    if convolutions == 1:
        y = y[:, 4:-4, 4:-4]
        return y, moments_of(y, half)
    x = _normalize_relu(y, "up1", norms, masks.get(2))
    x = convolution.blur_padded(_fill(x, half, 4, "edge")) if blurs else x[:, 1:-1, 1:-1]
    x = _fill(x, half, 3, "edge")
    y = _convolve("up2", weights, convolution.upsample_convolve_padded, x)  # from -4 on
    if convolutions == 2:
        y = y[:, 4:-4, 4:-4]
        return y, moments_of(y, frame)
    x = _fill(_normalize_relu(y, "up2", norms, masks.get(1)), frame, 4, "reflect")
    y = _convolve("conv4", weights, convolution.convolve_blocked, x)
    return jax.nn.sigmoid(y), None


def _fill(x: jax.Array, frame: Frame, halo: int, mode: str) -> jax.Array:
    """Mirror (`reflect`) or repeat (`edge`) the picture's border pixels beyond its borders.

    Args:
      x: (1, H, W, C), from `halo` pixels before the tile on.
      frame: of the tile, at the resolution of `x`.
      halo: pixels.
      mode: "reflect" or "edge".
    """
    for axis, start, size in ((1, frame.top, frame.height), (2, frame.left, frame.width)):
        count = x.shape[axis]
        at = start - halo + jnp.arange(count)
        mirrored = jnp.where(at < 0, -at, jnp.where(at >= size, 2 * (size - 1) - at, at))
        source = jnp.clip(at, 0, size - 1) if mode == "edge" else mirrored
        take = functools.partial(_take, axis=axis)
        crosses = (start < halo) | (start - halo + count > size)  # most tiles touch no border
        index = jnp.clip(source - (start - halo), 0, count - 1)
        x = jax.lax.cond(crosses, take, lambda x, _: x, x, index)
    return x


def _take(x: jax.Array, index: jax.Array, *, axis: int) -> jax.Array:
    return jnp.take(x, index, axis=axis)
