"""The convolutions of AlexNet (Krizhevsky 2014, "One weird trick") as torchvision has them."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

Weights = Mapping[str, jax.Array]

# per convolution: (stride, padding, whether pooling comes first)
_LAYERS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
SMALLEST = 31  # pixels of a side; a smaller picture leaves nothing for the second pooling


def features(weights: Weights, images: jax.Array) -> list[jax.Array]:
    """Features of the five convolutions after their ReLUs.

    Args:
      weights: `{"conv1.kernel": (h, w, in, out), "conv1.bias": (out,), ...}`.
      images: (N, H, W, 3), already normalized; sides of `SMALLEST` pixels or more.

    Returns:
      Five arrays (N, h, w, C), C = 64, 192, 384, 256, 256.
    """
    x, outputs = images, []
    for number, (stride, padding, pooled) in enumerate(_LAYERS, start=1):
        if pooled:
            x = _max_pool(x)
        y = jax.lax.conv_general_dilated(
            x,
            jnp.asarray(weights[f"conv{number}.kernel"], x.dtype),
            (stride, stride),
            ((padding, padding),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(y + jnp.asarray(weights[f"conv{number}.bias"], x.dtype)[None, None, None])
        outputs.append(x)
    return outputs


def _max_pool(x: jax.Array) -> jax.Array:
    """3x3 maximum, stride 2, whole windows only."""
    lowest = np.array(-np.inf, x.dtype)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
