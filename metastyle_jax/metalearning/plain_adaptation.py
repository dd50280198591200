"""Adaptation outside the bilevel problem: Adam on the styles of a few tasks, step by step.

Each step is a program of its own, because loops of convolutions are slow on CPU.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metastyle_jax.metalearning import outer_loss, style_tasks
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask, TaskData


def prepare(
    params: MetaParameters, batch: Batch, task: StyleTask, optimizer: optax.GradientTransformation
) -> tuple[Any, optax.OptState, TaskData]:
    """Where the adaptation of each style starts, and the data of its loss.

    Args:
      params: S styles start at `style`, or where the predictor says.
      batch: S styles; the support set is what they are adapted on, and the loss is measured on.
      task: what the network is asked to do; random numbers are the same at every step.
      optimizer: of the adaptation.

    Returns:
      (styles with leaves (S, C), state of the optimizer, data).
    """
    data, _ = style_tasks.support_and_query(task, batch, key=jax.random.key(0))
    count, contents = len(batch.styles), len(batch.support)
    styles = outer_loss.predicted_styles(params, batch, task)
    if styles is None:
        styles = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), params.style)
    if params.adjuster is not None:
        layers = len(task.objective.style_layers)
        data = dataclasses.replace(data, alpha=jnp.ones((count, contents, layers)))
    return styles, optimizer.init(styles), data


def step(
    params: MetaParameters,
    styles: Any,
    opt_state: optax.OptState,
    data: TaskData,
    optimizer: optax.GradientTransformation,
) -> tuple[Any, optax.OptState, jax.Array]:
    """One step for all styles: (styles, state of the optimizer, (S,) losses before the step)."""

    def loss_fn(styles: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        return style_tasks.loss_of({**params.adjustable, "style": styles}, data)

    grads, parts = jax.grad(loss_fn, has_aux=True)(styles)
    updates, opt_state = optimizer.update(grads, opt_state, styles)
    return optax.apply_updates(styles, updates), opt_state, parts["loss"]
