"""LPIPS v0.1 (Zhang et al. 2018) on SqueezeNet: how different two pictures look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import compilation, safetensors_file
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import squeezenet

# what LPIPS subtracts from and divides images in [-1, 1] by
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
SMALLEST = 17  # pixels of a side: below, a tap would be empty


class Weights(NamedTuple):
    """Of the network (see `squeezenet.keys`), and of each tap (C,)."""

    network: Mapping[str, np.ndarray]
    heads: tuple[np.ndarray, ...]


def load(network: str | Path, heads: str | Path) -> Weights:
    """Read both from safetensors files: torchvision's SqueezeNet 1.1, LPIPS's linear heads.

    Raises:
      UserError: a file is missing, damaged, or lacks an array (which is named).
    """
    wanted = [f"lin{i}.model.1.weight" for i in range(squeezenet.TAPS)]
    linear = _read(heads, wanted)
    return Weights(
        _read(network, squeezenet.keys()), tuple(linear[name].reshape(-1) for name in wanted)
    )


def _read(path: str | Path, wanted: list[str]) -> dict[str, np.ndarray]:
    arrays, _ = safetensors_file.read(path, set(wanted).__contains__)
    for name in wanted:
        if name not in arrays:
            raise UserError(f"{path} has no array {name}: use the file of SqueezeNet LPIPS v0.1")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@compilation.jit
def distance(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """LPIPS of pairs of pictures, 0 for equal ones.

    Args:
      weights: see `load`.
      x, y: (N, H, W, 3) in [0, 1], sides of `SMALLEST` pixels or more.

    Returns:
      (N,) float32.
    """
    shift, scale = (jnp.asarray(values, x.dtype)[None, None, None] for values in (SHIFT, SCALE))
    taps = (squeezenet.features(weights.network, (2 * z - 1 - shift) / scale) for z in (x, y))
    total = jnp.zeros(x.shape[0], x.dtype)
    for ours, theirs, head in zip(*taps, weights.heads, strict=True):
        error = jnp.square(_unit(ours) - _unit(theirs))
        total += (error * head[None, None, None]).sum(axis=-1).mean(axis=(1, 2))
    return total


def _unit(x: jax.Array) -> jax.Array:
    return x / (jnp.sqrt(jnp.square(x).sum(axis=-1, keepdims=True)) + 1e-10)
