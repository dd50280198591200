"""Style noise: Gaussian noise on the numbers of a style, not on pictures.

The baseline of Babaeizadeh & Ghiasi 2020 (figure 8) for varied drawings: scales and biases of all
instance norms get noise when a picture is drawn, or in training, too.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from metastyle_jax.networks.stylization_network import Style


def add_noise(key: jax.Array, style: Style, deviation: jax.Array | float) -> Style:
    """`style` with independent noise on every number.

    Args:
      key: for `jax.random`.
      style: leaves of any shape; each row of (N, C) leaves gets other noise.
      deviation: standard deviation, 0 or more, a number or a () array; scales are about 1.
    """
    leaves, structure = jax.tree.flatten(style)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + jnp.asarray(deviation, leaf.dtype) * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def add_to_samples(keys: jax.Array, rows: Style, deviation: jax.Array | float) -> Style:
    """Styles with other noise for each sample, leaves (S * B, C), styles slowest.

    Args:
      keys: (S, B), one for each sample, so that it does not depend on the others.
      rows: of S styles and B contents.
      deviation: see `add_noise`.
    """
    return jax.vmap(add_noise, in_axes=(0, 0, None))(keys.reshape(-1), rows, deviation)
