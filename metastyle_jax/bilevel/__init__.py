"""Bilevel optimization in JAX: a differentiable inner loop and meta-gradient estimators.

Pure functions of arrays. They import nothing else of this project. See docs/bilevel.md.
"""

from metastyle_jax.bilevel import inner_gradients, learned_rates
from metastyle_jax.bilevel.clipping import clip_by_norm, clip_by_task_norm
from metastyle_jax.bilevel.endpoint import implicit, reptile
from metastyle_jax.bilevel.estimators import (
    ESTIMATORS,
    exact,
    first_order,
    hessian_only,
    mixed_only,
    reverse,
    reverse_remat,
    truncated,
)
from metastyle_jax.bilevel.loop import Estimator, Loop, inner_loop

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Loop",
    "clip_by_norm",
    "clip_by_task_norm",
    "exact",
    "first_order",
    "hessian_only",
    "implicit",
    "inner_gradients",
    "inner_loop",
    "learned_rates",
    "mixed_only",
    "reptile",
    "reverse",
    "reverse_remat",
    "truncated",
]
