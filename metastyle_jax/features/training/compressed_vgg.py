"""VGG-19 compressed 16 times for style transfer (Wang et al. 2020), a teacher."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from metastyle_jax.networks import vgg

Weights = Mapping[str, jax.Array]

_BLOCKS = (2, 2, 4, 4)  # convolutions in each block that is used


def keys() -> list[str]:
    """Names of all arrays that `features` needs."""
    convs = [f"conv{b}{i}" for b, n in enumerate(_BLOCKS, start=1) for i in range(1, n + 1)]
    return [f"{conv}.{part}" for conv in ("conv0", *convs) for part in ("weight", "bias")]


def features(weights: Weights, images: jax.Array) -> list[jax.Array]:
    """The last features of the first four blocks.

    Args:
      weights: kernels OIHW and biases by `keys()`.
      images: (N, H, W, 3) in [0, 1]; the first layer normalizes them.

    Returns:
      (N, h, w, C) each: C = 16, 32, 64, 128 at 1, 1/2, 1/4, 1/8 of the size.
    """
    x = _conv(weights, "conv0", images)
    last = []
    for block, count in enumerate(_BLOCKS, start=1):
        x = vgg.max_pool(x) if block > 1 else x
        for index in range(1, count + 1):
            x = jax.nn.relu(_conv(weights, f"conv{block}{index}", x))
        last.append(x)
    return last


def _conv(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    kernel = jnp.asarray(weights[f"{name}.weight"], x.dtype)
    border = kernel.shape[-1] // 2
    padded = jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")
    y = jax.lax.conv_general_dilated(
        padded, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    return y + jnp.asarray(weights[f"{name}.bias"], x.dtype)[None, None, None]
