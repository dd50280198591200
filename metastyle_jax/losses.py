"""Losses of style transfer, each per image so that the styles of a batch stay apart.

A style loss is a pair of functions: `statistics` summarises features, `distance` compares two
summaries. What a style image contributes is thus computed once and only its statistics are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class StyleLoss(NamedTuple):
    """How style is measured at one layer.

    Attributes:
      statistics: features (N, H, W, C) -> pytree of per-image statistics, leaves (N, ...).
      distance: (statistics, target statistics) -> (N,), zero where they agree.
      magnitude: target statistics -> (N,), the mean square that `distance` is relative to; used to
        make the loss the same size for every style.
    """

    statistics: Callable[[jax.Array], Any]
    distance: Callable[[Any, Any], jax.Array]
    magnitude: Callable[[Any], jax.Array]


def gram_matrix(features: jax.Array) -> jax.Array:
    """Gram matrices psi(x) psi(x)^T / (C H W) (Johnson et al. 2016, eq. 3).

    Args:
      features: (N, H, W, C).

    Returns:
      (N, C, C), at least float32.
    """
    n, h, w, c = features.shape
    columns = features.reshape(n, h * w, c)
    columns = columns.astype(np.promote_types(features.dtype, np.float32))
    product = jnp.einsum("npc,npd->ncd", columns, columns, precision=jax.lax.Precision.HIGHEST)
    return product / (c * h * w)


def mean_square(x: jax.Array) -> jax.Array:
    """Mean of squares of each sample; (N, ...) -> (N,)."""
    return jnp.square(x).mean(axis=tuple(range(1, x.ndim)))


def mean_squared_error(x: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference of each sample; (N, ...), (N, ...) -> (N,)."""
    return mean_square(x - target)


gram = StyleLoss(statistics=gram_matrix, distance=mean_squared_error, magnitude=mean_square)


def content_loss(features: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared feature difference (Johnson et al. 2016, eq. 2); (N, H, W, C) -> (N,)."""
    return mean_squared_error(features, target)


def total_variation(images: jax.Array) -> jax.Array:
    """Mean squared difference of horizontal and of vertical neighbours; (N, H, W, C) -> (N,)."""
    return mean_square(images[:, 1:] - images[:, :-1]) + mean_square(
        images[:, :, 1:] - images[:, :, :-1]
    )
