"""Learned inner rates: multipliers of the inner rate that the outer loss is differentiated by.

    w <- w - rate * multiplier * gradient,   multipliers start at 1

| kind | multipliers | |
|---|---|---|
| "one" | a single one | |
| "layer" | one per layer (scale and bias of a norm share it) | |
| "layer_step" | one per layer and inner step | LSLR of MAML++, Antoniou et al. 2019, section 4 |
| "parameter" | one per parameter | Meta-SGD, Li et al. 2017, eq. 1 |
"""

from __future__ import annotations

import functools
import operator
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

KINDS = ("one", "layer", "layer_step", "parameter")
Multipliers = dict[str, Any]


def init(kind: str, fast: dict[str, Any], steps: int) -> Multipliers:
    """Multipliers of 1, in a nested dict with a leaf for each rate.

    Args:
      kind: one of `KINDS`.
      fast: nested dict of the fast parameters of one task: `{"layer": {"kernel": ...}}`.
      steps: T, the number of inner steps.

    Returns:
      For "one" `{"all": ()}`; for "layer" a () and for "layer_step" a (T,) leaf in the place of
      each layer; for "parameter" leaves in the shapes of `fast`.
    """
    if kind == "one":
        return {"all": jnp.ones(())}
    leaves = cast(dict[tuple, jax.Array], traverse_util.flatten_dict(fast))
    if kind == "parameter":
        ones = {path: jnp.ones(leaf.shape) for path, leaf in leaves.items()}
    else:
        shape = (steps,) if kind == "layer_step" else ()
        ones = {path[:-1]: jnp.ones(shape) for path in leaves}
    return traverse_util.unflatten_dict(ones)


def scale_by_multipliers(kind: str, multipliers: Multipliers) -> optax.GradientTransformation:
    """Multiply gradients by the multipliers, which may be differentiated by.

    Chain it after the optimizer: `optax.chain(optax.sgd(rate), scale_by_multipliers(...))`.

    Args:
      kind: one of `KINDS`.
      multipliers: as `init` returns them. Gradients of several tasks may be stacked along a first
        axis that the multipliers do not have.
    """

    def start(params: Any) -> Any:
        del params
        return jnp.zeros((), jnp.int32)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params

        def scale(path: tuple, gradient: jax.Array) -> jax.Array:
            keys = [key.key for key in path]
            where = {"one": ["all"], "parameter": keys}.get(kind, keys[:-1])
            factor: Any = functools.reduce(operator.getitem, where, cast(Any, multipliers))
            factor = factor[state] if kind == "layer_step" else factor
            return gradient * factor.reshape((1,) * (gradient.ndim - factor.ndim) + factor.shape)

        return jax.tree_util.tree_map_with_path(scale, updates), state + 1

    return optax.GradientTransformation(start, update)
