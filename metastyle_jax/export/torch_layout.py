"""The names and layout of the usual fast neural style network in PyTorch, as a safetensors file.

Names are those of the state dict of `TransformerNet` in PyTorch's example `fast_neural_style`
(Johnson et al. 2016): kernels OIHW, inputs 0 ... 255. Two things are not in that network, and its
`forward` must do them: a sigmoid times 255 at the end, and for most of our weights a blur after the
ReLU that follows `in4`. The metadata of the file say which.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.export.contents import Contents, Draw, Format, stylize_directly
from metastyle_jax.networks import stylization_network
from metastyle_jax.storage import quantization, safetensors_file

RANGE = 255  # of the pixels that the usual network takes and returns
OUTPUT = "255 * sigmoid(output of deconv3)"
BLUR = (
    "after relu(in4(deconv1(x))): x = avg_pool2d(avg_pool2d(pad(x, (1, 1, 1, 1), 'replicate'), "
    "2, stride=1), 2, stride=1)"
)
CROP = "pad height and width to multiples of 4 by reflection at the bottom and right, crop the end"


def state_dict(contents: Contents) -> dict[str, np.ndarray]:
    """Arrays by their names in the state dict.

    Kernels keep the dtype that they are stored with, except for the first, which is divided by 255
    and would lose digits in float16.
    """
    arrays = {}
    for layer, (convolution, _) in _names(contents.weights).items():
        stored = contents.weights[layer]
        kernel = stored["kernel"].transpose(3, 2, 0, 1)
        if layer == "conv1":
            kernel = kernel.astype(np.float32) / RANGE
        arrays[f"{convolution}.conv2d.weight"] = kernel
        arrays[f"{convolution}.conv2d.bias"] = stored["bias"]
    for layer, (_, norm) in _names(contents.weights).items():
        if norm:
            affine = contents.style[_norm_of(layer)]
            arrays[f"{norm}.weight"], arrays[f"{norm}.bias"] = affine["scale"], affine["bias"]
    return arrays


def params(arrays: Mapping[str, np.ndarray], blur: bool) -> dict[str, Any]:
    """`state_dict` back, for inputs 0 ... 255: weights and style of our network."""
    blocks = len({name.partition(".")[0] for name in arrays if name.startswith("res")})
    weights, style = {}, {}
    for layer, (convolution, norm) in _names_of(blocks, blur).items():
        kernel = arrays[f"{convolution}.conv2d.weight"].astype(np.float32)
        bias = arrays[f"{convolution}.conv2d.bias"]
        weights[layer] = {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
        if norm:
            affine = {"scale": arrays[f"{norm}.weight"], "bias": arrays[f"{norm}.bias"]}
            style[_norm_of(layer)] = affine
    return {"weights": weights, "style": style}


def _names(weights: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    blocks = stylization_network.count_residual_blocks(weights)
    return _names_of(blocks, stylization_network.UP1[True] in weights)


def _names_of(blocks: int, blur: bool) -> dict[str, tuple[str, str]]:
    """{our layer: (its convolution, its norm) there}; "" for no norm."""
    names = {f"conv{number}": (f"conv{number}", f"in{number}") for number in (1, 2, 3)}
    for block in range(1, blocks + 1):
        for half in (1, 2):
            there = (f"res{block}.conv{half}", f"res{block}.in{half}")
            names[f"residual{block}_{half}"] = there
    names[stylization_network.UP1[blur]] = ("deconv1", "in4")
    return {**names, "up2": ("deconv2", "in5"), "conv4": ("deconv3", "")}


def _norm_of(layer: str) -> str:
    return "up1_norm" if layer in stylization_network.UP1.values() else f"{layer}_norm"


def _write(path: Path, contents: Contents) -> None:
    blur = stylization_network.UP1[True] in contents.weights
    metadata = {
        **contents.metadata,
        "format": "pt",  # as libraries around PyTorch mark state dicts
        "input": "RGB 0 ... 255, not normalized, (N, 3, H, W)",
        "output": OUTPUT,
        "blur": BLUR if blur else "none",
        "size": CROP,
        "upsampling": "nearest x2 before the reflection padding of deconv1 and deconv2",
    }
    safetensors_file.write(path, state_dict(contents), metadata)


def _reload(path: Path, contents: Contents) -> list[Draw]:
    del contents
    arrays, metadata = safetensors_file.read(path)
    network = params(arrays, metadata["blur"] != "none")

    def draw(images: np.ndarray, styles: np.ndarray) -> jax.Array:
        del styles  # that of the file
        return stylize_directly(network["weights"], network["style"], RANGE * jnp.asarray(images))

    return [draw]


FORMAT = Format(
    _write,
    _reload,
    kinds=tuple(kind for kind in quantization.KINDS if kind != "int8"),
    note=f"the usual network must return {OUTPUT}, and blur where the metadata say so; see "
    "docs/export.md",
)
