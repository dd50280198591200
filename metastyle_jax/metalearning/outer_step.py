"""The outer step of meta-training: one pure function per replica, wrapped by `parallel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.metalearning import outer_loss, style_tasks
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork

InnerOptimizer = Callable[[jax.Array, Any], optax.GradientTransformation]


@flax.struct.dataclass
class TrainState:
    """Everything that training carries from step to step.

    Attributes:
      step: () int32, outer steps taken.
      params: `{"weights": ..., "style": ...}`, and "inner_rates" if these are learned, "predictor"
        if there is one.
      opt_state: of the outer optimizer.
    """

    step: jax.Array
    params: stylization_network.Params
    opt_state: Any


def init_state(
    params: stylization_network.Params, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state before the first outer step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params)
    )


def train_step(
    state: TrainState,
    batch: style_tasks.Batch,
    network: FeatureNetwork,
    *,
    problem: style_tasks.MetaProblem,
    inner_optimizer: InnerOptimizer,
    outer_optimizer: optax.GradientTransformation,
    axis: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One outer step.

    Args:
      state: before the step.
      batch: {"styles": (S, H, W, 3), "support": (B, H, W, 3), "query": (B, H, W, 3)} in [0, 1];
        on each replica its share of the styles.
      network: the feature network.
      problem: static description.
      inner_optimizer: (outer step (), learned inner rates or None) -> the inner optimizer.
      outer_optimizer: of all parameters.
      axis: name of the mapped axis to average over; None on a single device.

    Returns:
      (state after the step, metrics of `outer_loss.meta_loss`, the norms "gradient_norm_weights",
      "gradient_norm_style" ..., scalars).
    """

    # the gradient of this replica's loss first, then the mean: see `parallel`
    gradient, metrics = outer_gradient(
        state.params,
        state.step,
        batch,
        network,
        problem=problem,
        inner_optimizer=inner_optimizer,
    )
    if axis is not None:
        gradient, metrics = jax.lax.pmean((gradient, metrics), axis)
    for part, tree in gradient.items():
        metrics[f"gradient_norm_{part}"] = optax.tree.norm(tree)
    updates, opt_state = outer_optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state), metrics


def outer_gradient(
    params: stylization_network.Params,
    step: jax.Array,
    batch: style_tasks.Batch,
    network: FeatureNetwork,
    *,
    problem: style_tasks.MetaProblem,
    inner_optimizer: InnerOptimizer,
) -> tuple[stylization_network.Params, dict[str, jax.Array]]:
    """The meta-gradient at outer step `step`, as `problem.estimator` estimates it.

    Arguments as those of `train_step`; `params` as in `TrainState`.

    Returns:
      (gradient in the shape of `params`, metrics of `outer_loss.meta_loss`).
    """

    def loss_fn(params: stylization_network.Params):
        return outer_loss.meta_loss(
            problem,
            {name: part for name, part in params.items() if name != "inner_rates"},
            batch,
            network,
            inner_optimizer(step, params.get("inner_rates")),
            style_factor=_style_factor(problem, step),
            taken=taken_steps(problem, step),
            step_weights=multi_step_weights(problem, step),
            key=draws_key(problem, step),
        )

    return jax.grad(loss_fn, has_aux=True)(params)


def _style_factor(problem: style_tasks.MetaProblem, step: jax.Array) -> jax.Array | float:
    if not problem.style_warmup:
        return 1.0
    return jnp.minimum(1.0, step.astype(float) / problem.style_warmup)


def taken_steps(problem: style_tasks.MetaProblem, step: jax.Array) -> jax.Array | None:
    """() int32 from 1 to T, a function of the seed and the outer step; None for always T."""
    if not problem.random_steps:
        return None
    key = jax.random.fold_in(jax.random.key(problem.seed), step)
    return jax.random.randint(key, (), 1, problem.steps + 1, jnp.int32)


def draws_key(problem: style_tasks.MetaProblem, step: jax.Array) -> jax.Array | None:
    """For a random style loss or noise, a function of the seed and the outer step; else None."""
    if not (problem.objective.style_loss.random or problem.noise):
        return None
    # apart from the draws of `taken_steps`
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(problem.seed), 1), step)


def multi_step_weights(problem: style_tasks.MetaProblem, step: jax.Array) -> jax.Array | None:
    """(T,): from the mean over inner steps to the last one alone; None for always that."""
    if not problem.multi_step:
        return None
    last = jnp.minimum(1.0, step.astype(float) / problem.multi_step)
    mean = jnp.full((problem.steps,), (1 - last) / problem.steps)
    return mean.at[-1].add(last)
