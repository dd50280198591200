"""Input noise: on the contents that the network draws, not on those that it is compared with.

A network without randomness has nothing to make strokes of where a content is flat, and fills skies
with regular weaves (docs/results/quality.md). Texture networks are fed noise (Ulyanov et al. 2016);
here it lies on the content, so that the network stays a function of a picture.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

LONGEST = 24.0  # pixels: the period beyond which power does not rise any more
TEXTURE_SIDE = 1024  # pixels: at this distance the noise of a drawn picture repeats


def add_noise(
    key: jax.Array,
    images: jax.Array,
    deviation: jax.Array | float,
    first: jax.Array | int = 0,
) -> jax.Array:
    """`images` with smooth noise, equal in all colors, in [0, 1].

    Amplitude falls with the square of the frequency, from periods of 24 pixels on: seeds for
    strokes of every size that the network draws, more for large ones than for small ones.

    Args:
      key: for `jax.random`; each image gets its own noise.
      images: (N, H, W, C) in [0, 1].
      deviation: standard deviation of the noise before clipping, 0 to 1; a number or a () array. At
        0 the images come back unchanged.
      first: number of the first image; the noise of an image depends on its number alone.
    """
    numbers = first + jnp.arange(len(images), dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, numbers)
    noise = _smooth_noise(keys, images.shape[1:3]).astype(images.dtype)
    deviation = jnp.asarray(deviation, images.dtype)
    return jnp.clip(images + deviation * noise[..., None], 0.0, 1.0)


@functools.cache
def texture() -> np.ndarray:
    """The noise of pictures that are only drawn: (TEXTURE_SIDE, TEXTURE_SIDE) float32, mean 0 and
    deviation 1, always the same.

    It repeats without a seam, so it covers a picture of any size; what is left of a picture when it
    is cropped keeps its noise.
    """
    shape = (TEXTURE_SIDE, TEXTURE_SIDE)
    random = np.random.default_rng(0).standard_normal(shape)
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    amplitude = 1 / (rows[:, None] ** 2 + columns[None] ** 2 + LONGEST**-2)
    amplitude[0, 0] = 0
    noise = np.fft.irfft2(np.fft.rfft2(random) * amplitude, s=shape)
    return (noise / noise.std()).astype(np.float32)


def texture_of(height: int, width: int) -> np.ndarray:
    """The part of `texture` that lies on a picture: (height, width)."""
    rows, columns = (np.arange(side) % TEXTURE_SIDE for side in (height, width))
    return texture()[np.ix_(rows, columns)]


def _smooth_noise(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """For N keys and (H, W): (N, H, W), mean 0 and deviation 1 over each image."""
    random = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
    spectrum = jnp.fft.rfft2(random)
    rows, columns = jnp.fft.fftfreq(shape[0]), jnp.fft.rfftfreq(shape[1])
    amplitude = 1 / (rows[:, None] ** 2 + columns[None] ** 2 + LONGEST**-2)
    amplitude = amplitude.at[0, 0].set(0).astype(spectrum.dtype)  # no change of the mean
    noise = jnp.fft.irfft2(spectrum * amplitude[None], s=shape)
    return noise / noise.std(axis=(1, 2), keepdims=True)
