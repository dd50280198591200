"""Convolution weights with smaller kernels: float16, or int8 with a scale for each output channel.

Biases stay float32: they are few. A layer whose kernel is int8 has a third array, "kernel_scale".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Kind = Literal["float32", "float16", "int8"]
KINDS: tuple[Kind, ...] = ("float32", "float16", "int8")
SCALE = "kernel_scale"
_LARGEST = 127  # symmetric: -128 is not used

Layers = Mapping[str, Mapping[str, Any]]


def quantize(weights: Layers, kind: Kind) -> dict[str, dict[str, np.ndarray]]:
    """Weights as they are stored.

    Args:
      weights: `{layer: {"kernel": (k, k, I, O), "bias": (O,)}}`, finite.
      kind: dtype of the kernels. For int8 each output channel is divided by its scale, its largest
        absolute value / 127, and rounded.

    Returns:
      `{layer: {"kernel", "bias"}}`, for int8 with "kernel_scale" too, (O,) float32.

    Raises:
      ValueError: a value does not fit into float16.
    """
    return {name: _quantize_layer(name, layer, kind) for name, layer in weights.items()}


def _quantize_layer(name: str, layer: Mapping[str, Any], kind: Kind) -> dict[str, np.ndarray]:
    kernel = np.asarray(layer["kernel"], np.float32)
    stored: dict[str, np.ndarray] = {
        "kernel": kernel,
        "bias": np.asarray(layer["bias"], np.float32),
    }
    if kind == "float16":
        with np.errstate(over="ignore"):
            stored["kernel"] = kernel.astype(np.float16)
        if not np.isfinite(stored["kernel"]).all():
            raise ValueError(f"the kernel of {name} holds values that are too large for float16")
    if kind == "int8":
        largest = np.abs(kernel).max(axis=(0, 1, 2))
        scale = np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)
        stored["kernel"] = np.rint(kernel / scale).clip(-_LARGEST, _LARGEST).astype(np.int8)
        stored[SCALE] = scale
    return stored


def restore(stored: Layers) -> dict[str, dict[str, np.ndarray]]:
    """Weights in float32 as `networks.stylization_network` takes them.

    Args:
      stored: as `quantize` returns them, with kernels of any of its dtypes.
    """
    restored = {}
    for name, layer in stored.items():
        kernel = np.asarray(layer["kernel"]).astype(np.float32)
        if SCALE in layer:
            kernel = kernel * np.asarray(layer[SCALE])
        restored[name] = {"kernel": kernel, "bias": np.asarray(layer["bias"], np.float32)}
    return restored


def restore_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by name, "conv1/kernel" and "conv1/kernel_scale" made one; all in float32.

    Raises:
      ValueError: a scale has no kernel of as many output channels.
    """
    restored = {name: array.astype(np.float32) for name, array in arrays.items()}
    for name in [name for name in arrays if name.rpartition("/")[2] == SCALE]:
        scale, kernel = restored.pop(name), restored.get(name.removesuffix("_scale"))
        if kernel is None or scale.ndim != 1 or kernel.shape[-1:] != scale.shape:
            raise ValueError(f"{name} is the scale of no kernel")
        restored[name.removesuffix("_scale")] = kernel * scale
    return restored
