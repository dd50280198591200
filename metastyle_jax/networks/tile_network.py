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

from metastyle_jax.networks import convolution
from metastyle_jax.networks.stylization_network import EPSILON

Layer = Mapping[str, jax.Array]

# pixels before a tile that programs read, of the picture and of half its resolution
IMAGE_HALO = 8
HALF_HALO = 4


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
      variance: (C,), around that mean.
    """

    mean: jax.Array
    variance: jax.Array


class Frame(NamedTuple):
    """Where a tile lies, in pixels of the picture, all multiples of 4.

    Attributes:
      top, left: () int32 arrays or scalars, the first row and column of the tile.
      height, width: the same, of the whole picture.
    """

    top: Any
    left: Any
    height: Any
    width: Any

    def at(self, stride: int) -> Frame:
        """The frame at a lower resolution."""
        return Frame(*(value // stride for value in self))


def known_norm(mean: Any, variance: Any, scale: Any, bias: Any) -> Norm:
    """The norm of a convolution, from the moments (C,) of the whole picture and the style's leaves.

    Args:
      mean, variance: (C,).
      scale, bias: (C,), or (K, C) for K styles.
    """
    return Norm(mean, scale / (variance + EPSILON) ** 0.5, bias)


def moments_of(tile: jax.Array, frame: Frame) -> Moments:
    """Moments of a tile (1, T, T, C), the frame at its resolution."""
    inside = _inside(frame.top, frame.height, tile.shape[1])[:, None]
    inside = (inside & _inside(frame.left, frame.width, tile.shape[2])[None])[None, :, :, None]
    count = inside.sum(dtype=tile.dtype)
    mean = jnp.where(inside, tile, 0).sum(axis=(0, 1, 2)) / count
    distance = jnp.where(inside, tile - mean[None, None, None], 0)
    return Moments(mean, jnp.square(distance).sum(axis=(0, 1, 2)) / count)


def _inside(start: jax.Array, size: jax.Array, count: int) -> jax.Array:
    return start + jnp.arange(count) < size


def normalize(y: jax.Array, norm: Norm, masks: jax.Array | None) -> jax.Array:
    """Apply a norm to (1, H, W, C); `masks` (1, H, W, K) if it is of K styles."""
    if masks is None:
        gain, bias = norm.gain[None, None, None], norm.bias[None, None, None]
    else:
        gain, bias = masks @ norm.gain, masks @ norm.bias
    return (y - norm.mean[None, None, None]) * gain + bias


def first_convolution(layer: Layer, image: jax.Array) -> jax.Array:
    """The first convolution of a tile, 4 pixels before it too.

    Args:
      layer: kernel and bias of the convolution.
      image: (1, T + 12, T + 12, 3), from `IMAGE_HALO` pixels before the tile on, reflected at the
        borders of the picture.

    Returns:
      (1, T + 4, T + 4, C), without its norm; without sense beyond the borders.
    """
    return _convolve(layer, convolution.convolve_picture, image)


def first_moments(y: jax.Array, frame: Frame) -> Moments:
    """Moments of `first_convolution` in a tile."""
    return moments_of(y[:, 4:, 4:], frame)


def second_convolution(
    layer: Layer, norm: Norm, y: jax.Array, masks: jax.Array | None, frame: Frame
) -> tuple[jax.Array, Moments]:
    """The second convolution of a tile.

    Args:
      layer: kernel and bias.
      norm: of the first one.
      y: what `first_convolution` returns.
      masks: None for one style, or (1, T + 4, T + 4, K), from pixel -4 on.
      frame: of the tile.

    Returns:
      Its output, (1, T / 2, T / 2, C), without its norm; and its moments.
    """
    x = _fill(jax.nn.relu(normalize(y, norm, masks)), frame, 4, "reflect")[:, 3:, 3:]
    y = _convolve(layer, _halve, x)
    return y, moments_of(y, frame.at(2))


def third_convolution(
    layer: Layer, norm: Norm, y: jax.Array, masks: jax.Array | None, frame: Frame
) -> tuple[jax.Array, Moments]:
    """The third convolution of a tile.

    Args:
      layer: kernel and bias.
      norm: of the second one.
      y: (1, T / 2 + 1, T / 2 + 1, C), the second one's output from pixel -1 on, reflected.
      masks: None, or of the size of `y`.
      frame: of the tile.

    Returns:
      Its output, (1, T / 4, T / 4, C), without its norm; and its moments.
    """
    y = _convolve(layer, _halve, jax.nn.relu(normalize(y, norm, masks)))
    return y, moments_of(y, frame.at(4))


def _halve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolution.convolve(x, kernel, 2)


def _convolve(layer: Layer, function: Callable, x: jax.Array) -> jax.Array:
    return function(x, layer["kernel"]) + layer["bias"][None, None, None]


def residual_convolution(
    layer: Layer,
    norm: Norm | None,
    x: jax.Array,
    masks: jax.Array | None,
    frame: Frame,
) -> tuple[jax.Array, Moments]:
    """One convolution of a residual block.

    Args:
      layer: its kernel and bias.
      norm: of the convolution before it, in the same block; None for the block's first.
      x: (1, T / 4 + 2, T / 4 + 2, C), with one pixel around the tile, reflected at
        the borders.
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


def first_upsampling(layer: Layer, x: jax.Array, frame: Frame) -> tuple[jax.Array, Moments]:
    """The convolution after the residual blocks, of twice their resolution.

    Args:
      layer: kernel and bias.
      x: (1, T / 4 + 2, T / 4 + 2, C), what the residual blocks made, with a pixel around the tile,
        a copy of the border itself beyond the borders of the picture.
      frame: of the tile.

    Returns:
      Its output, (1, T / 2, T / 2, C), without its norm; and its moments.
    """
    y = _convolve(layer, convolution.upsample_convolve_padded, x)
    return y, moments_of(y, frame.at(2))


def second_upsampling(
    layer: Layer,
    norm: Norm,
    y: jax.Array,
    masks: jax.Array | None,
    frame: Frame,
    *,
    blurs: bool,
) -> jax.Array:
    """The convolution of the picture's resolution, 4 pixels around the tile too.

    Args:
      layer: kernel and bias.
      norm: of the first upsampling.
      y: (1, T / 2 + 8, T / 2 + 8, C), its output, from `HALF_HALO` pixels before the tile on.
      masks: None, or of the size of `y`.
      frame: of the tile.
      blurs: whether the network blurs there, see `stylization_network.init`.

    Returns:
      (1, T + 8, T + 8, C), without its norm; without sense beyond the borders.
    """
    half = frame.at(2)
    x = jax.nn.relu(normalize(y, norm, masks))
    x = convolution.blur_padded(_fill(x, half, 4, "edge")) if blurs else x[:, 1:-1, 1:-1]
    return _convolve(layer, convolution.upsample_convolve_padded, _fill(x, half, 3, "edge"))


def last_moments(y: jax.Array, frame: Frame) -> Moments:
    """Moments of `second_upsampling` in a tile."""
    return moments_of(y[:, 4:-4, 4:-4], frame)


def picture(
    layer: Layer, norm: Norm, y: jax.Array, masks: jax.Array | None, frame: Frame
) -> jax.Array:
    """What is drawn in a tile, (1, T, T, 3) in [0, 1].

    Args:
      layer: kernel and bias of the last convolution.
      norm: of the second upsampling.
      y: what `second_upsampling` returns.
      masks: None, or of the size of `y`.
      frame: of the tile.
    """
    x = _fill(jax.nn.relu(normalize(y, norm, masks)), frame, 4, "reflect")
    return jax.nn.sigmoid(_convolve(layer, convolution.convolve_to_picture, x))


def surrounded(x: jax.Array, frame: Frame, halo: int, mode: str) -> jax.Array:
    """Put `halo` pixels around a tile that holds the whole picture, see `_fill`.

    Args:
      x: (1, H, W, C).
      frame: of the tile, at the resolution of `x`.
      halo: pixels.
      mode: "reflect" or "edge".

    Returns:
      (1, H + 2 halo, W + 2 halo, C).
    """
    sides = (halo, halo)
    return _fill(jnp.pad(x, ((0, 0), sides, sides, (0, 0))), frame, halo, mode)


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
