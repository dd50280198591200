"""What derivatives are compared with: finite differences and norms over pytrees, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax


def flat(tree: Any) -> np.ndarray:
    """All entries of a pytree in one vector."""
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)])


def relative_error(actual: Any, expected: Any) -> float:
    """||actual - expected|| / ||expected|| over whole pytrees."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    actual, expected = flat(actual), flat(expected)
    assert np.isfinite(actual).all()
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def central_difference(
    function: Callable[[Any], Any], point: Any, direction: Any, step: float
) -> np.ndarray:
    """Directional derivative of `function` (array-valued) by its values at +-`step` and +-2 `step`.

    Fourth order: the error is of the order of step^4 as long as no kink lies in between.
    """

    def at(distance: float) -> np.ndarray:
        moved = jax.tree.map(lambda x, d: x + distance * d, point, direction)
        return np.asarray(function(moved))

    near, far = at(step) - at(-step), at(2 * step) - at(-2 * step)
    return (8 * near - far) / (12 * step)


def promoting(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` under JAX's usual dtype promotion, which optax.adam needs (float ** int32).

    Only the optimizer: what calls it stays strict.
    """

    def update(*arguments: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(*arguments)

    return optax.GradientTransformation(optimizer.init, update)
