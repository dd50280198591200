"""Distorted pictures for the training of a feature network.

Features that distinguish pictures well may still be bad for style transfer: gradient descent finds
patterns that no picture has and that these features do not see (docs/results/notebook.md). The
student therefore also learns from distorted pictures, and contrasts pictures with them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

WAVES = 3  # of a lattice


def distort(key: jax.Array, images: jax.Array) -> jax.Array:
    """Each image with one or more of: scrambled phases, blur or sharpening, a lattice, noise.

    Args:
      key: for `jax.random`.
      images: (N, H, W, 3) in [0, 1].

    Returns:
      The same shape, in [0, 1].
    """
    keys = jax.random.split(key, 5)
    kinds = (_scramble, _sharpen, _lattice, _noise)
    # each image gets two of the four on average, and noise if it gets none of the others
    chosen = jax.random.bernoulli(keys[4], 0.5, (len(kinds), len(images), 1, 1, 1))
    chosen = chosen.at[-1].set(chosen[-1] | ~chosen.any(axis=0))
    for kind, key_of_kind, choice in zip(kinds, keys[:4], chosen, strict=True):
        images = jnp.where(choice, kind(key_of_kind, images), images)
    return jnp.clip(images, 0.0, 1.0)


def _scramble(key: jax.Array, images: jax.Array) -> jax.Array:
    """Blend with a picture of the same spectrum and random phases: texture without strokes."""
    phases, share = jax.random.split(key)
    noise = jax.random.normal(phases, images.shape[:3])
    # the phases of real noise have the symmetry that a real picture needs
    angles = jnp.angle(jnp.fft.rfft2(noise, axes=(1, 2)))[..., None]
    mean = images.mean(axis=(1, 2), keepdims=True)
    spectrum = jnp.fft.rfft2(images - mean, axes=(1, 2))
    turned = spectrum * jnp.exp(1j * angles.astype(jnp.complex64))
    scrambled = jnp.fft.irfft2(turned, s=images.shape[1:3], axes=(1, 2)) + mean
    return images + _strengths(share, images, 0.3, 1.0) * (scrambled - images)


def _sharpen(key: jax.Array, images: jax.Array) -> jax.Array:
    """Blur or sharpen: change the difference to a 3x3 mean by a factor in [0, 3]."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    shifts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return images + _strengths(key, images, -1.0, 2.0) * (images - sum(shifts) / 9)


def _lattice(key: jax.Array, images: jax.Array) -> jax.Array:
    """Add waves of 2 to 12 pixels, one in three along an axis, of any color."""
    n, height, width, colors = images.shape
    keys = jax.random.split(key, 5)
    frequency = jax.random.uniform(keys[0], (WAVES, n, 2), minval=1 / 12, maxval=1 / 2)
    frequency *= jax.random.rademacher(keys[1], frequency.shape).astype(frequency.dtype)
    frequency *= jax.random.bernoulli(keys[2], 0.8, frequency.shape).astype(frequency.dtype)
    phase = jax.random.uniform(keys[3], (WAVES, n, 1, 1), maxval=2 * jnp.pi)
    rows, columns = (jnp.arange(side, dtype=images.dtype) for side in (height, width))
    angle = (
        2
        * jnp.pi
        * (
            frequency[..., :1, None] * rows[None, None, :, None]
            + frequency[..., 1:, None] * columns[None, None, None, :]
        )
    )
    amplitude = 0.15 * jax.random.normal(keys[4], (WAVES, n, 1, 1, colors))
    return images + (amplitude * jnp.sin(angle + phase)[..., None]).sum(axis=0)


def _noise(key: jax.Array, images: jax.Array) -> jax.Array:
    values, strength = jax.random.split(key)
    noise = jax.random.normal(values, images.shape)
    return images + _strengths(strength, images, 0.02, 0.2) * noise


def _strengths(key: jax.Array, images: jax.Array, low: float, high: float) -> jax.Array:
    """(N, 1, 1, 1), uniform."""
    return jax.random.uniform(key, (len(images), 1, 1, 1), minval=low, maxval=high)
