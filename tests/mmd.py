"""The maximum mean discrepancy in quadratic time, by its definition: the oracle of the losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def biased(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y) over all pairs; (P, C), (Q, C)."""
    return float(kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean())


def unbiased(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    """The same without pairs of a position with itself (Gretton et al. 2012, lemma 6)."""

    def within(z: np.ndarray) -> float:
        values = kernel(z, z)
        return (values.sum() - np.trace(values)) / (len(z) * (len(z) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(P, Q) of (P, C) and (Q, C)."""
    return np.square(x[:, None] - y[None]).sum(axis=-1)


def mean_pooled_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of two positions, each from either image with equal odds."""
    pairs = ((x, x), (x, y), (y, x), (y, y))
    return float(np.mean([squared_distances(a, b).mean() for a, b in pairs]))
