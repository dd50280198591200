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
from metastyle_jax.metalearning import style_tasks
from metastyle_jax.networks import input_noise, predictor, stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork

# Adam does not see the size of this gradient; clipping by the global norm shall not either
DISTANCE_WEIGHT = 1e-3


def meta_loss(
    problem: style_tasks.MetaProblem,
    params: stylization_network.Params,
    batch: style_tasks.Batch,
    network: FeatureNetwork,
    inner_optimizer: optax.GradientTransformation,
    *,
    style_factor: jax.Array | float = 1.0,
    taken: jax.Array | None = None,
    step_weights: jax.Array | None = None,
    key: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over styles of the query loss after the inner loop on the support contents.

    Args:
      problem: static description.
      params: where every style starts; with "predictor" each starts where that says, and
        "style" goes after the mean of the predictions.
      batch: see `outer_step.train_step`.
      network: the feature network.
      inner_optimizer: of the inner loop.
      style_factor: multiplies the weight of the style.
      taken: () int32, how many of the T inner steps are taken; None for all.
      step_weights: (T,), of the query loss after each inner step; None for the last alone.
      key: for a style loss that is random and for noise on the contents: draws are the same for
        all styles and inner steps, so that the inner loop descends one function, and others for the
        query.

    Returns:
      (scalar, metrics: scalars "outer_loss", "outer_content", "outer_style" after adaptation and
      "inner_loss_0" ... "inner_loss_{T-1}" on the support contents, "inner_gradient_norm"; and
      "prediction_distance" if there is a predictor).
    """
    support, query = support_and_query(problem, batch, network, style_factor, key)

    start = predicted_styles(problem, params, batch, network)

    def query_loss(weights: Any, style: Any, style_targets: perceptual.Targets):
        data = {**query, "style_targets": style_targets}
        return style_tasks.stylization_loss(problem, weights, style, data)[1]

    parts, inner = style_tasks.adapt_styles(
        problem,
        params,
        support,
        inner_optimizer,
        query_loss,
        start=start,
        taken=taken,
        step_weights=step_weights,
    )
    means = {name: part.mean() for name, part in parts.items()}
    metrics = {f"outer_{name}": mean for name, mean in means.items() if name != "weighted"}
    for step in range(problem.steps):
        metrics[f"inner_loss_{step}"] = inner["loss"][step]
    if problem.steps:
        metrics["inner_gradient_norm"] = inner["gradient_norm"][0]
    loss = means.get("weighted", means["loss"])
    if start is not None:
        metrics["prediction_distance"] = predictor.distance(params["style"], start)
        loss += DISTANCE_WEIGHT * metrics["prediction_distance"]
    return loss, metrics


def predicted_styles(
    problem: style_tasks.MetaProblem,
    params: stylization_network.Params,
    batch: style_tasks.Batch,
    network: FeatureNetwork,
) -> Any:
    """Where the styles of the batch start by the predictor, leaves (S, C); None without one."""
    if "predictor" not in params:
        return None
    objective = problem.objective
    seen = network.extract(batch["styles"], objective.style_layers)
    statistics = jax.lax.stop_gradient(predictor.statistics(seen))
    return predictor.predict(params["predictor"], statistics, params["style"])


def preview(
    problem: style_tasks.MetaProblem,
    params: stylization_network.Params,
    batch: style_tasks.Batch,
    network: FeatureNetwork,
    inner_optimizer: optax.GradientTransformation,
) -> tuple[jax.Array, jax.Array]:
    """The first query content in each style before and after the inner loop: (S, H, W, 3) twice.

    Before: in `params["style"]`; the inner loop starts where the predictor says, if there is one.
    """
    support, query = support_and_query(problem, batch, network, key=jax.random.key(0))
    content = query["contents"][:1]
    stylize = functools.partial(
        stylization_network.stylize, dtype=problem.dtype, rewrite=problem.rewrite
    )

    def outputs(weights: Any, style: Any, style_targets: perceptual.Targets) -> jax.Array:
        del style_targets
        count = jax.tree.leaves(style)[0].shape[0]
        contents = perceptual.tile_contents(content, count)
        return stylize(weights, style, contents)

    before = stylize(params["weights"], params["style"], content)
    problem = dataclasses.replace(problem, estimator=bilevel.first_order)
    start = predicted_styles(problem, params, batch, network)
    after, _ = style_tasks.adapt_styles(
        problem, params, support, inner_optimizer, outputs, start=start
    )
    return jnp.broadcast_to(before, after.shape), after


def support_and_query(
    problem: style_tasks.MetaProblem,
    batch: style_tasks.Batch,
    network: FeatureNetwork,
    style_factor: jax.Array | float = 1.0,
    key: jax.Array | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data of `style_tasks.stylization_loss` for the inner and for the outer loss."""
    targets = style_tasks.make_targets(problem, network, batch, style_factor)
    keys = (None, None) if key is None else jax.random.split(key)
    return tuple(
        {
            "contents": _with_noise(problem, batch[name], own_key),
            "content_targets": targets[name],
            "style_targets": targets["styles"],
            "feature_network": network,
            "key": own_key,
        }
        for name, own_key in zip(("support", "query"), keys, strict=True)
    )


def _with_noise(
    problem: style_tasks.MetaProblem, contents: jax.Array, key: jax.Array | None
) -> jax.Array:
    """What the network is given to draw; other noise than what a random style loss draws."""
    if not problem.noise:
        return contents
    if key is None:
        raise ValueError("noise on the contents needs a key, see `outer_step.draws_key`")
    return input_noise.add_noise(jax.random.fold_in(key, 1), contents, problem.noise)
