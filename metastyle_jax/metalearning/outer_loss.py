"""MetaStyle's bilevel problem: styles are tasks, contents are the examples (Zhang et al. 2019).

inner: adapt to one style on the support contents;  outer: loss of the result on query contents
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metastyle_jax import bilevel
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import inner_adaptation, style_tasks
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.schedule import ALWAYS, Scheduled
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import adjuster, predictor, stylization_network

# Adam does not see the size of this gradient; clipping by the global norm shall not either
DISTANCE_WEIGHT = 1e-3


def meta_loss(
    params: MetaParameters,
    batch: Batch,
    task: StyleTask,
    loop: InnerLoop,
    optimizer: optax.GradientTransformation,
    scheduled: Scheduled = ALWAYS,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over styles of the query loss after the inner loop on the support contents.

    Args:
      params: where every style starts; with a predictor each starts where that says, and `style`
        follows the mean of the predictions.
      batch: styles and contents.
      task: objective, feature network, input noise.
      loop: the inner loop.
      optimizer: of the inner loop, with its learned rates.
      scheduled: what the schedule gives at this outer step. Draws are the same for all styles and
        inner steps, so that the inner loop descends one function, and others for the query.

    Returns:
      (scalar, metrics: scalars "outer_loss", "outer_content", "outer_style" after adaptation and
      "inner_loss_0" ... "inner_loss_{T-1}" on the support contents, "inner_gradient_norm"; and
      "prediction_distance" if there is a predictor; and with weights or factors of layers
      "outer_content_relu3_3" and so on, the error of each layer before all weights).
    """
    support, query = style_tasks.support_and_query(
        task, batch, scheduled.style_factor, scheduled.key, scheduled.first_content
    )
    support, query = (
        dataclasses.replace(
            data,
            alpha=None if scheduled.alpha is None else scheduled.alpha[part],
            factors=scheduled.factors,
            style_keys=None if scheduled.style_keys is None else scheduled.style_keys[part],
        )
        for part, data in enumerate((support, query))
    )
    start = predicted_styles(params, batch, task)

    def query_loss(adapted: dict[str, Any], style_targets: perceptual.Targets):
        data = dataclasses.replace(query, style_targets=style_targets)
        return style_tasks.loss_of(adapted, data)[1]

    parts, inner = inner_adaptation.adapt_styles(
        loop,
        params.adjustable,
        support,
        optimizer,
        query_loss,
        start=start,
        active_steps=scheduled.active_steps,
        step_weights=scheduled.step_weights,
    )
    means = {name: part.mean() for name, part in parts.items()}
    metrics = {f"outer_{name}": mean for name, mean in means.items() if name != "weighted"}
    for step in range(loop.steps):
        metrics[f"inner_loss_{step}"] = inner["loss"][step]
    if loop.steps:
        metrics["inner_gradient_norm"] = inner["gradient_norm"][0]
    loss = means.get("weighted", means["loss"])
    if start is not None:
        metrics["prediction_distance"] = predictor.distance(params.style, start)
        loss += DISTANCE_WEIGHT * metrics["prediction_distance"]
    return loss, metrics


def predicted_styles(params: MetaParameters, batch: Batch, task: StyleTask) -> Any:
    """Where the styles of the batch start by the predictor, leaves (S, C); None without one."""
    if params.predictor is None:
        return None
    network = task.network if task.predictor_network is None else task.predictor_network
    return predictor.predict_from_images(
        params.predictor, network, task.objective.style_layers, batch.styles, params.style
    )


def preview(
    params: MetaParameters,
    batch: Batch,
    task: StyleTask,
    loop: InnerLoop,
    optimizer: optax.GradientTransformation,
) -> tuple[jax.Array, jax.Array]:
    """The first query content in each style before and after the inner loop: (S, H, W, 3) twice.

    Before: in `params.style`; the inner loop starts where the predictor says, if there is one.
    """
    support, query = style_tasks.support_and_query(task, batch, key=jax.random.key(0))
    content = query.contents[:1]
    stylize = functools.partial(stylization_network.stylize, dtype=task.dtype, rewrite=task.rewrite)

    def outputs(adapted: dict[str, Any], style_targets: perceptual.Targets) -> jax.Array:
        del style_targets
        count = jax.tree.leaves(adapted["style"])[0].shape[0]
        contents = perceptual.tile_contents(content, count)
        return stylize(adapted["weights"], adapted["style"], contents)

    before = stylize(params.weights, params.style, content)
    after, _ = inner_adaptation.adapt_styles(
        dataclasses.replace(loop, estimator=bilevel.first_order),
        params.network,
        support,
        optimizer,
        outputs,
        start=predicted_styles(params, batch, task),
    )
    return jnp.broadcast_to(before, after.shape), after


def preview_adjusted(
    params: MetaParameters, batch: Batch, task: StyleTask, alphas: jax.Array
) -> jax.Array:
    """The first query content in each style at each of (K, L) weights of layers: (S, K, H, W, 3).

    In `params.style`, or where the predictor says, without inner steps.
    """
    count, k = len(batch.styles), len(alphas)
    start = predicted_styles(params, batch, task)
    if start is None:
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), params.style)
    styles = stylization_network.repeat_style(start, k)
    styles = adjuster.adjust(params.adjuster, jnp.tile(alphas, (count, 1)), styles)
    contents = perceptual.tile_contents(batch.query[:1], count * k)
    drawn = stylization_network.stylize(
        params.weights, styles, contents, dtype=task.dtype, rewrite=task.rewrite
    )
    return drawn.reshape(count, k, *drawn.shape[1:])
