"""Pictures drawn in one piece: one program for each height and width."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.data import images
from metastyle_jax.networks import input_noise, stylization_network
from metastyle_jax.runtime import compilation


def draw(params: stylization_network.Params, picture: Any, deviation: float) -> Any:
    """Draw a picture (H, W, 3), or several (N, H, W, 3), one after the other.

    Args:
      params: `{"weights": ..., "style": ...}`.
      picture: a NumPy or JAX array, uint8 or floats in [0, 1].
      deviation: standard deviation of the input noise.

    Returns:
      The same kind of array, of the same shape and dtype.
    """
    batch = picture if picture.ndim == 4 else picture[None]
    noise = input_noise.texture_of(*batch.shape[1:3])
    drawn = [
        _stylize(
            params["weights"],
            params["style"],
            images.as_float(image)[None],
            noise,
            np.float32(deviation),
        )[0]
        for image in batch
    ]
    if isinstance(picture, jax.Array):
        result = jnp.stack(drawn) if picture.ndim == 4 else drawn[0]
    else:
        result = np.stack(drawn) if picture.ndim == 4 else np.asarray(drawn[0])
    if picture.dtype != np.uint8:
        return result.astype(picture.dtype)
    rounded = images.as_uint8(np.asarray(result))
    return jnp.asarray(rounded) if isinstance(picture, jax.Array) else rounded


@compilation.jit
def _stylize(
    weights: stylization_network.Weights,
    style: stylization_network.Style,
    image: jax.Array,
    noise: jax.Array,
    deviation: jax.Array,
) -> jax.Array:
    """(1, H, W, 3) float32 to the same; `noise` is (H, W), `deviation` is () float32."""
    noisy = jnp.clip(image + deviation * noise[None, :, :, None], 0, 1)
    return stylization_network.stylize(weights, style, noisy)
