"""VGG feature networks (Simonyan & Zisserman, 2015) as one pure function.

Features are named by the standard layer names, `relu{block}_{conv}`: `relu1_1` ... `relu5_4`. The
network is computed only as deep as the deepest layer asked for. `compact` has the layout of VGG-16
at a third of its width; to relu4_3 it costs an eleventh. `distilled` has a narrow trunk too, and a
head on each layer: a 1x1 convolution and a ReLU that predict the channels of VGG-16 there.
`distilled-wide` is the same at twice the width of the trunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from metastyle_jax.networks import convolution

Pooling = Literal["max", "average"]
POOLINGS: tuple[Pooling, ...] = ("max", "average")
FeatureWeights = Mapping[str, Mapping[str, jax.Array]]

# architecture -> per block: (channels, number of convolutions)
ARCHITECTURES: dict[str, tuple[tuple[int, int], ...]] = {
    "vgg16": ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)),
    "vgg19": ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)),
    "compact": ((24, 2), (40, 2), (72, 3), (128, 3), (128, 3)),
    "distilled": ((24, 2), (40, 2), (72, 3), (96, 3)),
    "distilled-wide": ((48, 2), (80, 2), (144, 3), (192, 3)),
}

# architecture -> per block: channels of its heads, those of VGG-16
HEADS: dict[str, tuple[int, ...]] = {
    "distilled": (64, 128, 256, 512),
    "distilled-wide": (64, 128, 256, 512),
}

# what each was trained with
POOLING: dict[str, Pooling] = {
    "vgg16": "max",
    "vgg19": "max",
    "compact": "average",
    "distilled": "average",
    "distilled-wide": "average",
}

# ImageNet statistics that torchvision's weights expect of an RGB image in [0, 1]
MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)


def conv_names(architecture: str) -> tuple[str, ...]:
    """Names of all convolutions in order: `("conv1_1", "conv1_2", "conv2_1", ...)`.

    Raises:
      ValueError: unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"unknown feature network {architecture!r}; known are {known}")
    return tuple(
        f"conv{block}_{index}"
        for block, (_, count) in enumerate(ARCHITECTURES[architecture], start=1)
        for index in range(1, count + 1)
    )


def needed_convs(architecture: str, layers: Iterable[str]) -> tuple[str, ...]:
    """All convolutions up to the deepest of `layers` (`relu1_2`, ...), in order.

    Raises:
      ValueError: unknown architecture or layer, or no layer at all.
    """
    names = conv_names(architecture)
    relus = [name.replace("conv", "relu") for name in names]
    layers = tuple(layers)
    for layer in layers:
        if layer not in relus:
            raise ValueError(f"{architecture} has no layer {layer!r}; known are {', '.join(relus)}")
    if not layers:
        raise ValueError("no feature layers were asked for")
    return names[: max(relus.index(layer) for layer in layers) + 1]


def convs_of_loss(architecture: str, layers: Iterable[str]) -> tuple[str, ...]:
    """`needed_convs` for the layers of a loss, each of which counts once.

    Raises:
      ValueError: unknown architecture or layer, no layer at all, or one is named twice.
    """
    layers = tuple(layers)
    for layer in layers:
        if layers.count(layer) > 1:
            raise ValueError(f"the layer {layer!r} is named twice: a loss has each layer once")
    return needed_convs(architecture, layers)


def conv_shapes(architecture: str) -> dict[str, tuple[int, int, int, int]]:
    """Kernel shapes HWIO of all convolutions: `{"conv1_1": (3, 3, 3, 64), ...}`."""
    shapes = {}
    channels = 3
    for name in conv_names(architecture):
        width = ARCHITECTURES[architecture][int(name[4]) - 1][0]
        shapes[name] = (3, 3, channels, width)
        channels = width
    return shapes


def width(architecture: str, layer: str) -> int:
    """Channels of a layer, after its head if it has one.

    Raises:
      ValueError: unknown architecture or layer.
    """
    deepest = needed_convs(architecture, [layer])[-1]
    if architecture in HEADS:
        return HEADS[architecture][int(deepest[4]) - 1]
    return conv_shapes(architecture)[deepest][-1]


def head_of(layer: str) -> str:
    """ "relu1_1" -> "head1_1"."""
    return layer.replace("relu", "head")


def head_shapes(architecture: str, layers: Iterable[str]) -> dict[str, tuple[int, int, int, int]]:
    """Kernel shapes HWIO of the heads of `layers`: `{"head1_1": (1, 1, 24, 64), ...}`, or none.

    Raises:
      ValueError: unknown architecture or layer.
    """
    if architecture not in HEADS:
        return {}
    trunk = conv_shapes(architecture)
    return {
        head_of(layer): (
            *(1, 1),
            trunk[needed_convs(architecture, [layer])[-1]][-1],
            width(architecture, layer),
        )
        for layer in layers
    }


def kernel_shapes(architecture: str, layers: Iterable[str]) -> dict[str, tuple[int, int, int, int]]:
    """Kernel shapes HWIO of all that `features` needs for `layers`, convolutions first.

    Raises:
      ValueError: unknown architecture or layer, or no layer at all.
    """
    layers = tuple(layers)
    shapes = conv_shapes(architecture)
    trunk = {conv: shapes[conv] for conv in needed_convs(architecture, layers)}
    return trunk | head_shapes(architecture, layers)


def weight_shapes(
    architecture: str, layers: Iterable[str]
) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """What `features` needs for `layers`, as float32 shapes: `{"conv1_1": {"kernel", "bias"}}`.

    Raises:
      ValueError: unknown architecture or layer, or no layer at all.
    """
    return {
        name: {
            "kernel": jax.ShapeDtypeStruct(kernel, jnp.float32),
            "bias": jax.ShapeDtypeStruct(kernel[-1:], jnp.float32),
        }
        for name, kernel in kernel_shapes(architecture, layers).items()
    }


def multiplications_per_pixel(architecture: str, layers: Iterable[str]) -> float:
    """Multiplications per input pixel of the convolutions to the deepest of `layers`, and heads.

    Raises:
      ValueError: unknown architecture or layer, or no layer at all.
    """
    # each block has a quarter of the positions of the one before
    return sum(
        math.prod(kernel) / 4 ** (int(name[4]) - 1)
        for name, kernel in kernel_shapes(architecture, layers).items()
    )


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum, stride 2; (N, H, W, C) -> (N, H // 2, W // 2, C).

    By reshape, not `reduce_window`: its derivative is select-and-scatter, which is slow and has
    weak support for second derivatives. Ties share the gradient.
    """
    windows = _windows(x)
    rows = jnp.maximum(windows[:, :, 0], windows[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def average_pool(x: jax.Array) -> jax.Array:
    """2x2 mean, stride 2; (N, H, W, C) -> (N, H // 2, W // 2, C)."""
    return _windows(x).mean(axis=(2, 4))


def _windows(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    # like torchvision, an odd last row or column is dropped
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)


def features(
    weights: FeatureWeights,
    images: jax.Array,
    layers: Iterable[str],
    *,
    architecture: str = "vgg16",
    pooling: Pooling = "max",
    dtype: jax.typing.DTypeLike | None = None,
) -> dict[str, jax.Array]:
    """Features of `images` at `layers`.

    Args:
      weights: `{"conv1_1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}`, HWIO; at least what
        `kernel_shapes(architecture, layers)` names.
      images: (N, H, W, 3) RGB in [0, 1].
      layers: names such as `relu2_2`.
      architecture: a key of `ARCHITECTURES`.
      pooling: "max" as trained, or "average" (Gatys et al. 2016), smoother for optimization.
      dtype: of the convolutions (for example bfloat16); None keeps that of `images`.

    Returns:
      `{layer: (N, h, w, C)}` in the dtype of `images`.

    Raises:
      ValueError: unknown architecture, layer or pooling, or images too small for the deepest layer.
    """
    layers = tuple(layers)
    convs = needed_convs(architecture, layers)
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}; known are {', '.join(POOLINGS)}")
    pool = max_pool if pooling == "max" else average_pool
    if min(images.shape[1:3]) >> (int(convs[-1][4]) - 1) < 1:
        raise ValueError(
            f"images of {images.shape[1]}x{images.shape[2]} are too small for {convs[-1]}"
        )
    compute = dtype or images.dtype
    mean, deviation = (jnp.asarray([[[s]]], images.dtype) for s in (MEAN, STANDARD_DEVIATION))
    x = ((images - mean) / deviation).astype(compute)
    outputs = {}
    block = "1"
    for name in convs:
        if name[4] != block:
            x, block = pool(x), name[4]
        x = jax.nn.relu(_conv(x, weights[name]))
        layer = name.replace("conv", "relu")
        if layer in layers:
            seen = x
            if architecture in HEADS:
                seen = jax.nn.relu(_head(x, weights[head_of(layer)]))
            outputs[layer] = seen.astype(images.dtype)
    return outputs


def _head(x: jax.Array, weights: Mapping[str, jax.Array]) -> jax.Array:
    y = x @ weights["kernel"][0, 0].astype(x.dtype)
    return y + weights["bias"].astype(x.dtype)[None, None, None]


def _conv(x: jax.Array, weights: Mapping[str, jax.Array]) -> jax.Array:
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = convolution.convolve_quickly(padded, weights["kernel"].astype(x.dtype))
    return y + weights["bias"].astype(x.dtype)[None, None, None]
