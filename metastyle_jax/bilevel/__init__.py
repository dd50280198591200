"""Bilevel optimisation of anything: a differentiable inner loop and meta-gradient estimators.

Pure functions that import nothing else of this project, so that the package works alone.
"""

from metastyle_jax.bilevel import inner_gradients, learned_rates
from metastyle_jax.bilevel.loop import (
    ESTIMATORS,
    Estimator,
    Loop,
    clip_by_task_norm,
    exact,
    first_order,
    hessian_only,
    implicit,
    inner_loop,
    mixed_only,
    reptile,
    reverse,
    reverse_remat,
    truncated,
)

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Loop",
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
