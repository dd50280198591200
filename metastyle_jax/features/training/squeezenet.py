"""SqueezeNet 1.1 (Iandola et al. 2016) up to its last fire module, with torchvision's key names."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

Weights = Mapping[str, jax.Array]

# torchvision's `features`: a convolution, then pools and fire modules by their index there; the
# taps are those of LPIPS: after the first ReLU, and before each pool and after each last fire
_POOLS = (2, 5, 8)
_FIRES = (3, 4, 6, 7, 9, 10, 11, 12)
_TAPPED = (4, 7, 9, 10, 11, 12)
TAPS = 1 + len(_TAPPED)


def keys() -> list[str]:
    """Names of all arrays that `features` needs."""
    layers = ["features.0"]
    layers += [f"features.{i}.{p}" for i in _FIRES for p in ("squeeze", "expand1x1", "expand3x3")]
    return [f"{layer}.{name}" for layer in layers for name in ("weight", "bias")]


def features(weights: Weights, images: jax.Array) -> list[jax.Array]:
    """The seven taps that LPIPS reads.

    Args:
      weights: kernels OIHW and biases by `keys()`.
      images: (N, H, W, 3), normalized as the caller wants it; sides of 17 pixels or more.

    Returns:
      `TAPS` arrays (N, h, w, C), C = 64, 128, 256, 384, 384, 512, 512.
    """
    x = _conv(weights, "features.0", images, stride=2)
    taps = [x]
    for index in range(2, max(_FIRES) + 1):
        x = _pool(x) if index in _POOLS else _fire(weights, f"features.{index}", x)
        if index in _TAPPED:
            taps.append(x)
    return taps


def _fire(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    x = _conv(weights, f"{name}.squeeze", x)
    wide = (_conv(weights, f"{name}.expand{k}x{k}", x, padding=k // 2) for k in (1, 3))
    return jnp.concatenate(list(wide), axis=-1)


def _conv(
    weights: Weights, name: str, x: jax.Array, *, stride: int = 1, padding: int = 0
) -> jax.Array:
    y = jax.lax.conv_general_dilated(
        x,
        jnp.asarray(weights[f"{name}.weight"], x.dtype),
        (stride, stride),
        ((padding, padding),) * 2,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
    )
    return jax.nn.relu(y + jnp.asarray(weights[f"{name}.bias"], x.dtype)[None, None, None])


def _pool(x: jax.Array) -> jax.Array:
    """3x3 maximum, stride 2; a last window that reaches beyond the edge counts (ceil mode)."""
    beyond = [(size - 3) % 2 for size in x.shape[1:3]]
    padding = ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0))
    lowest = np.array(-np.inf, x.dtype)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
