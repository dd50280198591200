"""Inner learning rates that the outer gradient learns.

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
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

KINDS = ("one", "layer", "layer_step", "parameter")
Multipliers = dict[str, Any]


def init(kind: str, fast: dict[str, Any], steps: int) -> Multipliers:
    """Ones, in a nested dict as deep as what they are for: `{"style": {"conv1_norm": ...}}`.

    Args:
      kind: one of `KINDS`.
      fast: what the inner loop moves, of one task.
      steps: T.
    """
    if kind == "one":
        return {"all": jnp.ones(())}
    leaves = traverse_util.flatten_dict(fast)
    if kind == "parameter":
        ones = {path: jnp.ones(leaf.shape) for path, leaf in leaves.items()}
    else:
        shape = (steps,) if kind == "layer_step" else ()
        ones = {path[:-1]: jnp.ones(shape) for path in leaves}
    return traverse_util.unflatten_dict(ones)


def scale_by_multipliers(kind: str, multipliers: Multipliers) -> optax.GradientTransformation:
    """Multiply gradients by their multipliers; differentiable with respect to these.

    Gradients of several tasks may be stacked along a first axis that the multipliers lack.
    """

    def start(fast: dict[str, Any]) -> jax.Array:
        del fast
        return jnp.zeros((), jnp.int32)

    def update(gradients: dict[str, Any], step: jax.Array, params: Any = None):
        del params

        def scale(path: tuple, gradient: jax.Array) -> jax.Array:
            keys = [key.key for key in path]
            where = {"one": ["all"], "parameter": keys}.get(kind, keys[:-1])
            factor = functools.reduce(operator.getitem, where, multipliers)
            factor = factor[step] if kind == "layer_step" else factor
            return gradient * factor.reshape((1,) * (gradient.ndim - factor.ndim) + factor.shape)

        return jax.tree_util.tree_map_with_path(scale, gradients), step + 1

    return optax.GradientTransformation(start, update)
