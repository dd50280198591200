"""The image transformation network (Johnson et al. 2016) with an explicit style.

Convolution kernels and biases are the slow weights, shared by all styles. The affine parameters of
the instance norms are the style (Dumoulin et al. 2017): 15 layers, 3,200 numbers at the default
width. `stylize(weights, style, images)` is pure, jittable and differentiable any number of times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from metastyle_jax.networks import convolution, copying_start

Weights = Mapping[str, Mapping[str, jax.Array]]
Style = Mapping[str, Mapping[str, jax.Array | np.ndarray]]
Params = dict[str, Any]

WIDTH = 32
RESIDUAL_BLOCKS = 5
MINIMUM_SIZE = 16
DOWNSAMPLING = 4
EPSILON = 1e-5
COPYING_WIDTH = 24  # below, the middle has too few channels for what passes through at first
# the first kernel after the middle, by whether its stage ends with a blur: weights say by this name
# which network they are of
UP1 = {False: "up1", True: "up1_blur"}
LAST_LAYER = "conv4"
LAST_LAYER_RATE = 0.1  # what its rate is multiplied with where all parameters move


class Convolution(nn.Module):
    """Reflection padding and a convolution; kernel HWIO and bias in collection "params".

    Attributes:
      features: output channels.
      size: kernel side.
      stride: 1 or 2.
      upsample: nearest-neighbor x2 before a 3x3 convolution.
      rewrite: use the exact rewrites of `networks.convolution` where there is one.
      gain: of the initial kernel; its entries have variance gain / fan-in.
    """

    features: int
    size: int = 3
    stride: int = 1
    upsample: bool = False
    rewrite: bool = True
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        initial = nn.initializers.variance_scaling(self.gain, "fan_in", "truncated_normal")
        kernel = self.param("kernel", initial, shape).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = self._apply(x, kernel)
        # narrowed only after it was spread out: its gradient, a sum over all positions, is then
        # added up in the bias's own float32
        return y + jnp.broadcast_to(bias[None, None, None], y.shape).astype(y.dtype)

    def _apply(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.upsample:
            if self.rewrite:
                return convolution.upsample_convolve_quickly(x, kernel)
            return convolution.upsample_convolve(x, kernel)
        padded = convolution.reflect_pad(x, self.size // 2)
        if self.rewrite and self.size == 9:
            first = x.shape[-1] < self.features
            large = convolution.convolve_picture if first else convolution.convolve_to_picture
            return large(padded, kernel)
        if self.rewrite and self.stride == 1:
            return convolution.convolve_quickly(padded, kernel)
        return convolution.convolve(padded, kernel, self.stride)


class InstanceNorm(nn.Module):
    """Instance normalization (Ulyanov et al. 2016) with its affine parameters in "style".

    Scale and bias are `(C,)`, `(N, C)` with one row per sample, or `(N, H, W, C)` (or anything that
    broadcasts to it) for spatial blends. Statistics are two-pass and float32 whatever the dtype of
    `x`.

    Attributes:
      initial_scale: a number.
    """

    initial_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = (x.shape[-1],)
        scale = self.variable("style", "scale", jnp.full, channels, self.initial_scale).value
        bias = self.variable("style", "bias", jnp.zeros, channels).value
        wide = x.astype(np.promote_types(x.dtype, np.float32))
        centered = wide - wide.mean(axis=(1, 2), keepdims=True)
        variance = jnp.square(centered).mean(axis=(1, 2), keepdims=True)
        normal = centered * jax.lax.rsqrt(variance + EPSILON)
        return (normal * _spatial(scale) + _spatial(bias)).astype(x.dtype)


def _spatial(leaf: jax.Array) -> jax.Array:
    """Shape a style leaf for (N, H, W, C): `(C,)` and `(N, C)` are constant over positions."""
    if leaf.ndim == 1:
        return leaf[None, None, None, :]
    if leaf.ndim == 2:
        return leaf[:, None, None, :]
    return leaf


class StylizationNetwork(nn.Module):
    """9x9, two 3x3/2, residual blocks, two (x2, 3x3), 9x9, sigmoid: the network of Johnson et al.

    Attributes:
      width: channels of the first layer; the middle has four times as many.
      residual_blocks: how many.
      blur: whether the first upsampling stage ends with one.
      dtype: of the convolutions; None keeps that of the images.
      rewrite: see `Convolution`.
    """

    width: int = WIDTH
    residual_blocks: int = RESIDUAL_BLOCKS
    blur: bool = False
    dtype: Any = None
    rewrite: bool = True

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """(N, H, W, 3) to (N, H, W, 3), both in [0, 1]; H and W multiples of 4."""
        x = images.astype(self.dtype or images.dtype)
        x = self._stage("conv1", x, self.width, size=9)
        x = self._stage("conv2", x, 2 * self.width, stride=2)
        x = self._stage("conv3", x, 4 * self.width, stride=2)
        for index in range(1, self.residual_blocks + 1):
            y = self._stage(f"residual{index}_1", x, 4 * self.width)
            x = x + self._stage(f"residual{index}_2", y, 4 * self.width, relu=False, scale=0.0)
        x = self._stage("up1", x, 2 * self.width, layer=UP1[self.blur], upsample=True)
        if self.blur:
            x = convolution.blur(x)
        x = self._stage("up2", x, self.width, upsample=True)
        x = Convolution(3, size=9, rewrite=self.rewrite, gain=0.01, name="conv4")(x)
        return jax.nn.sigmoid(x.astype(images.dtype))

    def _stage(
        self,
        name: str,
        x: jax.Array,
        features: int,
        *,
        layer: str = "",
        relu: bool = True,
        scale: float = 1.0,
        **options: Any,
    ) -> jax.Array:
        x = Convolution(features, name=layer or name, rewrite=self.rewrite, **options)(x)
        x = InstanceNorm(initial_scale=scale, name=f"{name}_norm")(x)
        return jax.nn.relu(x) if relu else x


def init(
    key: jax.Array,
    *,
    width: int = WIDTH,
    residual_blocks: int = RESIDUAL_BLOCKS,
    blur: bool = False,
) -> Params:
    """A network that draws a blurred copy, and a neutral style.

    Weights are random, except for those channels that carry the picture, see `copying_start`. The
    style has bias 0 and scale 1. The scale is 0 at the end of a residual block, so that each block
    begins as the identity (Goyal et al. 2017, section 5.1).

    Args:
      key: for `jax.random`.
      width, residual_blocks: see `StylizationNetwork`.
      blur: False is the network as published (Johnson et al. 2016). True blurs the output of its
        first upsampling stage, against lattices of 4 pixels: of the two rows that a row becomes, a
        kernel such as (-1, 1, 0) sees a difference in one and none in the other, and a ReLU makes
        of that a mean which alternates from row to row. The blur takes away just that.

    Returns:
      `{"weights": {layer: {"kernel", "bias"}}, "style": {layer: {"scale", "bias"}}}`, float32,
      1,679,235 numbers at the default width.
    """
    network = StylizationNetwork(width=width, residual_blocks=residual_blocks, blur=blur)
    # the smallest picture: parameters do not depend on its size
    variables = jax.jit(network.init)(key, jnp.zeros((1, MINIMUM_SIZE, MINIMUM_SIZE, 3)))
    weights = variables["params"]
    if width >= COPYING_WIDTH:
        weights = copying_start.with_copying(
            {name: dict(layer) for name, layer in weights.items()}, UP1[blur]
        )
    return {"weights": weights, "style": variables["style"]}


def stylize(
    weights: Weights,
    style: Style,
    images: jax.Array,
    *,
    dtype: Any = None,
    rewrite: bool = True,
) -> jax.Array:
    """Stylized images.

    Args:
      weights: as `init` makes them; the network's `architecture` is read off them.
      style: `{layer: {"scale", "bias"}}`, leaves `(C,)` for one style, `(N, C)` for one per image,
        `(N, h, w, C)` (or broadcastable) for spatial blends at each layer's own resolution.
      images: (N, H, W, 3) RGB in [0, 1]; any H and W from 16 up. Sizes that are no multiple of 4
        are padded by reflection and the result is cropped. N, H and W may be symbolic, see
        `jax.export.symbolic_shape`, with the constraints that H and W are 16 or more.
      dtype: of the convolutions, for example bfloat16; norms and result keep float32.
      rewrite: use exact rewrites of slow convolutions (same values up to rounding).

    Returns:
      (N, H, W, 3) in [0, 1], in the dtype of `images`.

    Raises:
      ValueError: images smaller than 16 pixels.
    """
    height, width = images.shape[1:3]
    check_size(height, width)
    network = StylizationNetwork(**architecture(weights), dtype=dtype, rewrite=rewrite)
    outputs = network.apply({"params": weights, "style": style}, _pad_to_multiple(images))
    # without mutable collections nothing but the images comes back
    return cast(jax.Array, outputs)[:, :height, :width]


def check_size(height: int, width: int) -> None:
    """Raise `ValueError` if a side is too short for the network."""
    # side by side, because of two symbolic sizes nobody knows which is smaller
    if any(side < MINIMUM_SIZE for side in (height, width)):
        raise ValueError(
            f"images are {width}x{height} pixels; the network needs {MINIMUM_SIZE} or more"
        )


def _pad_to_multiple(images: jax.Array) -> jax.Array:
    """Reflection at the bottom and at the right, up to multiples of `DOWNSAMPLING`."""
    height, width = images.shape[1:3]
    if not any(map(jax.export.is_symbolic_dim, (height, width))):
        extra = ((0, 0), (0, -height % DOWNSAMPLING), (0, -width % DOWNSAMPLING), (0, 0))
        return jnp.pad(images, extra, mode="reflect")
    # `jnp.pad` reflects by a number of pixels that is known, and a symbolic one is not
    rows = jnp.take(images, _reflected_positions(height), axis=1, mode="clip")
    return jnp.take(rows, _reflected_positions(width), axis=2, mode="clip")


def _reflected_positions(size: int) -> jax.Array:
    """Which of `size` positions each one of the next multiple of `DOWNSAMPLING` shows."""
    multiple = DOWNSAMPLING * ((size + DOWNSAMPLING - 1) // DOWNSAMPLING)
    position = jnp.arange(multiple)
    return jnp.where(position < size, position, 2 * (size - 1) - position)


def architecture(weights: Weights) -> dict[str, Any]:
    """Which network these weights are of: "width", "residual_blocks" and "blur" of `init`."""
    return {
        "width": weights["conv1"]["kernel"].shape[-1],
        "residual_blocks": count_residual_blocks(weights),
        "blur": UP1[True] in weights,
    }


def with_blur(weights: Weights, blur: bool) -> dict[str, Any]:
    """The same kernels in the network with or without blur: a start for training it."""
    return {UP1[blur] if name in UP1.values() else name: layer for name, layer in weights.items()}


def count_residual_blocks(weights: Mapping[str, Any]) -> int:
    """Number of residual blocks of a network, read off its weights."""
    return sum(name.startswith("residual") for name in weights) // 2


def scale_last_layer(tree: Any, factor: float) -> Any:
    """A tree like `params`, or a part of it, with the last convolution's entries times `factor`.

    For updates by Adam, which move every entry by the rate: all other kernels are followed by a
    norm, which takes the size of what they do away, but those 2,592 inputs of each color add up
    right before the sigmoid. Of two controlled comparisons one found no difference, one a
    lower loss after 500 steps (docs/results/notebook.md).
    """
    if LAST_LAYER not in tree.get("weights", {}):
        return tree
    last = jax.tree.map(lambda leaf: leaf * factor, tree["weights"][LAST_LAYER])
    return {**tree, "weights": {**tree["weights"], LAST_LAYER: last}}


def repeat_style(style: Style, count: int) -> Style:
    """Per-style leaves (S, C) to per-sample leaves (S * count, C), each row `count` times."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), style)
