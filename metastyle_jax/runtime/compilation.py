"""`jit` for whole programs, with the fastest compiler options for the platform."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax

# XLA:CPU hands convolutions and matrix products to YNNPACK or to Eigen. Eigen's convolutions take
# a third of the time once they are large, and its batched products use all cores
# (docs/results/speed.md, "Faster convolutions"); sums over positions stay with YNNPACK,
# which does them faster.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


def jit(function: Callable, *, platform: str | None = None, **keywords: Any) -> Callable:
    """`jax.jit` with `options()`, which JAX accepts for outermost programs only.

    Args:
      function: the whole program.
      platform: that it is compiled for; None for JAX's default backend.
      keywords: arguments of `jax.jit`.

    Returns:
      The compiled function, with the methods `lower` and `trace`. The backend is started by the
      first call.
    """

    @functools.cache
    def compiled() -> Any:
        return jax.jit(function, compiler_options=dict(options(platform)), **keywords)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled()(*args, **kwargs)

    cast(Any, call).lower = lambda *args, **kwargs: compiled().lower(*args, **kwargs)
    cast(Any, call).trace = lambda *args, **kwargs: compiled().trace(*args, **kwargs)
    return call


@functools.cache
def options(platform: str | None = None) -> Mapping[str, str]:
    """Compiler options for a platform, or the default one, that this version of XLA knows."""
    if (platform or jax.default_backend()) != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=_CPU_OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # "No such compile option": another version of XLA
        return {}
    return _CPU_OPTIONS
