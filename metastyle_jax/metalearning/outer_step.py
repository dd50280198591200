"""The outer step of meta-training: one pure function per replica, wrapped by `runtime.sharding`."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.losses import moving_averages
from metastyle_jax.metalearning import outer_loss, subsets, task_gradients
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import (
    CONSTANT,
    Schedule,
    at_step,
    draw_alpha,
    draw_style_keys,
)
from metastyle_jax.metalearning.structures import Axes, Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask

ONE_DEVICE = Axes()


@flax.struct.dataclass
class TrainState:
    """Everything that training carries from step to step.

    Attributes:
      step: () int32, outer steps so far.
      params: what the outer optimizer moves.
      opt_state: of the outer optimizer.
      averages: of the layers' losses, see `losses.moving_averages`; None where these are not
        normalized by them.
    """

    step: jax.Array
    params: MetaParameters
    opt_state: Any
    averages: Any = None


def init_state(
    params: MetaParameters,
    optimizer: optax.GradientTransformation,
    averages: moving_averages.Averages | None = None,
) -> TrainState:
    """The state before the first outer step."""
    # optax takes any pytree, but its annotations list only containers of arrays
    opt_state = optimizer.init(cast(Any, params))
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, averages)


def train_step(
    state: TrainState,
    batch: Batch,
    task: StyleTask,
    *,
    loop: InnerLoop,
    outer_optimizer: optax.GradientTransformation,
    schedule: Schedule = CONSTANT,
    axes: Axes = ONE_DEVICE,
    combine: str = task_gradients.MEAN,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One outer step.

    Args:
      state: before the step.
      batch: on each replica its share of the styles, and of the contents.
      task: objective, feature network, input noise.
      loop: the inner loop.
      outer_optimizer: of all parameters.
      schedule: what depends on the outer step.
      axes: mapped axes to average over.
      combine: how the gradients of the styles become one, of `task_gradients.COMBINATIONS`.

    Returns:
      (state after the step, metrics of `outer_loss.meta_loss`, the norms "gradient_norm_weights",
      "gradient_norm_style" ..., scalars).
    """
    styles = batch.styles

    def of(batch: Batch, number: jax.Array | int = 0):
        return outer_gradient(
            state.params,
            state.step,
            batch,
            task,
            loop=loop,
            schedule=schedule,
            averages=state.averages,
            axes=axes,
            first_style=_first(axes.styles, styles) + number,
        )

    if combine == task_gradients.NORMALIZED:
        gradients, metrics = task_gradients.per_task(of, batch, unroll=loop.unroll)
        if axes.contents is not None:
            gradients = jax.lax.pmean(gradients, axes.contents)
        gradient = task_gradients.normalized(gradients, axes)
        metrics = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), metrics)
        metrics = jax.lax.pmean(metrics, axes.names) if axes.names else metrics
    else:
        # the gradient of this replica's loss first, then the mean: see `runtime.sharding`
        gradient, metrics = of(batch)
        if axes.names:
            gradient, metrics = jax.lax.pmean((gradient, metrics), axes.names)
    for name, part in gradient.parts().items():
        metrics[f"gradient_norm_{name}"] = optax.tree.norm(part)
    before = cast(Any, state.params)  # see `init_state`
    updates, opt_state = outer_optimizer.update(cast(Any, gradient), state.opt_state, before)
    moving = cast(Any, _moving(cast(MetaParameters, updates), schedule.subset))
    params = cast(MetaParameters, optax.apply_updates(before, moving))
    averages = state.averages
    if averages is not None:
        errors = {name.removeprefix("outer_"): value for name, value in metrics.items()}
        averages = moving_averages.update(averages, errors, schedule.average_decay)
    return TrainState(state.step + 1, params, opt_state, averages), metrics


def outer_gradient(
    params: MetaParameters,
    step: jax.Array,
    batch: Batch,
    task: StyleTask,
    *,
    loop: InnerLoop,
    schedule: Schedule = CONSTANT,
    averages: moving_averages.Averages | None = None,
    axes: Axes = ONE_DEVICE,
    first_style: jax.Array | int | None = None,
) -> tuple[MetaParameters, dict[str, jax.Array]]:
    """The meta-gradient at outer step `step`, as `loop.estimator` estimates it.

    Arguments are those of `train_step`, and `averages` those of the layers' losses over the steps
    before. `first_style` is the number of the first style among those of the step; None for all
    styles of this replica. It is the gradient of the loss of this replica; the inner loop sees all
    contents.

    Returns:
      (gradient in the shape of `params`, metrics of `outer_loss.meta_loss`).
    """
    if first_style is None:
        first_style = _first(axes.styles, batch.styles)
    first_content = _first(axes.contents, batch.query)
    scheduled = at_step(schedule, step, inner_steps=loop.steps, random=task.random)
    scheduled = scheduled._replace(first_content=first_content)
    if params.adjuster is not None:
        counts = (len(batch.styles), len(batch.query), len(task.objective.style_layers))
        alpha = draw_alpha(schedule, step, counts, first_style, first_content)
        scheduled = scheduled._replace(alpha=alpha)
    if task.style_noise is not None:
        samples = (len(batch.styles), len(batch.query))
        keys = draw_style_keys(schedule, step, samples, first_style, first_content)
        scheduled = scheduled._replace(style_keys=keys)
    if averages is not None:
        scheduled = scheduled._replace(factors=moving_averages.factors(averages))

    def loss_fn(params: MetaParameters):
        # not the gradients alone: what stays needs none, and the compiler leaves them out
        parts = subsets.freeze(params.parts(), schedule.subset)
        params = dataclasses.replace(params, **parts)
        optimizer = loop.optimizer(step, params.inner_rates)
        if axes.contents is not None:
            optimizer = optax.chain(_averaged(axes.contents), optimizer)
        return outer_loss.meta_loss(params, batch, task, loop, optimizer, scheduled)

    return jax.grad(loss_fn, has_aux=True)(params)


def _moving(updates: MetaParameters, subset: str) -> MetaParameters:
    """`updates` with zeros outside the subset, which momentum of before a resuming may move."""
    moves, stays = subsets.split(updates.parts(), subset)
    parts = subsets.join(moves, jax.tree.map(jnp.zeros_like, stays))
    return dataclasses.replace(updates, **parts)


def _first(axis: str | None, images: jax.Array) -> jax.Array | int:
    """Number of the first of a replica's images among those of all."""
    return 0 if axis is None else jax.lax.axis_index(axis) * len(images)


def _averaged(axis: str) -> optax.GradientTransformation:
    """Gradients averaged over a mapped axis before an optimizer of the inner loop sees them.

    Differentiated, each replica gets the part of its copy of the parameters in the sum of all
    losses; the mean of these parts over replicas is the gradient of the mean loss.
    """
    return optax.stateless(lambda updates, params: jax.lax.pmean(updates, axis))
