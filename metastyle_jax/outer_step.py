"""The outer step of meta-training: one pure function per replica, wrapped by `parallel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax import meta, transformer

InnerOptimizer = Callable[[jax.Array], optax.GradientTransformation]


@flax.struct.dataclass
class TrainState:
    """Everything that training carries from step to step.

    Attributes:
      step: () int32, outer steps taken.
      params: `{"weights": ..., "style": ...}`.
      opt_state: of the outer optimizer.
    """

    step: jax.Array
    params: transformer.Params
    opt_state: Any


def init_state(params: transformer.Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first outer step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params)
    )


def train_step(
    state: TrainState,
    batch: meta.Batch,
    feature_weights: Any,
    *,
    problem: meta.MetaProblem,
    inner_optimizer: InnerOptimizer,
    outer_optimizer: optax.GradientTransformation,
    axis: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One outer step.

    Args:
      state: before the step.
      batch: {"styles": (S, H, W, 3), "support": (B, H, W, 3), "query": (B, H, W, 3)} in [0, 1];
        on each replica its share of the styles.
      feature_weights: of the feature network.
      problem: static description.
      inner_optimizer: outer step () -> the inner optimizer, whose rate may decay with it.
      outer_optimizer: of all parameters.
      axis: name of the mapped axis to average over; None on a single device.

    Returns:
      (state after the step, metrics of `meta.meta_loss` and the norms "gradient_norm_weights" and
      "gradient_norm_style", scalars).
    """

    def loss_fn(params: transformer.Params):
        return meta.meta_loss(
            problem,
            params,
            batch,
            feature_weights,
            inner_optimizer(state.step),
            style_factor=_style_factor(problem, state.step),
        )

    # the gradient of this replica's loss first, then the mean: see `parallel`
    gradient, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
    if axis is not None:
        gradient, metrics = jax.lax.pmean((gradient, metrics), axis)
    for part, tree in gradient.items():
        metrics[f"gradient_norm_{part}"] = optax.tree.norm(tree)
    updates, opt_state = outer_optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), metrics


def _style_factor(problem: meta.MetaProblem, step: jax.Array) -> jax.Array | float:
    if not problem.style_warmup:
        return 1.0
    return jnp.minimum(1.0, step.astype(float) / problem.style_warmup)
