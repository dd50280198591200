"""How well features distinguish styles: a test that matches corners of artworks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.losses import style_losses

Extract = Callable[[np.ndarray], Sequence[jax.Array]]


def corners(image: np.ndarray) -> np.ndarray:
    """The top left and the bottom right square of half the short side, which do not overlap.

    (H, W, 3) -> (2, s, s, 3), s = min(H, W) // 2.
    """
    side = min(image.shape[:2]) // 2
    return np.stack([image[:side, :side], image[-side:, -side:]])


def _unit(grams: jax.Array) -> jax.Array:
    flat = grams.reshape(len(grams), -1)
    # within the root: a picture without features has no direction, but it has numbers
    return flat * jax.lax.rsqrt(jnp.square(flat).sum(axis=-1, keepdims=True) + 1e-24)


def share_matched(extract: Extract, images: Iterable[np.ndarray]) -> float:
    """Share of corners whose most similar opposite corner belongs to the same image.

    Similarity is the mean cosine of Gram matrices over layers. Each corner is compared with the
    opposite corners of all images.

    Args:
      extract: (2, s, s, 3) in [0, 1] -> features (2, h, w, C) by layer; called image by image.
      images: (H, W, 3) in [0, 1], two or more.

    Returns:
      In [0, 1]; 1 / number of images by chance.
    """
    by_layer: list[list[np.ndarray]] = []
    for image in images:
        units = [np.asarray(_unit(style_losses.gram_matrix(x))) for x in extract(corners(image))]
        by_layer = by_layer or [[] for _ in units]
        for layer, unit in zip(by_layer, units, strict=True):
            layer.append(unit)
    similarity = np.zeros(())
    for layer in by_layer:
        first, second = np.stack(layer, axis=1)
        similarity = similarity + first.astype(np.float64) @ second.T
    partner = np.arange(len(similarity))
    right = [similarity.argmax(axis=axis) == partner for axis in (0, 1)]
    return float(np.mean(right))
