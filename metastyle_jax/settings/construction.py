"""The objects that settings stand for: objective, task, inner loop, optimizers, parameters."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from metastyle_jax import bilevel
from metastyle_jax.bilevel import learned_rates
from metastyle_jax.losses import fusion, moving_averages, perceptual
from metastyle_jax.metalearning import outer_step, subsets
from metastyle_jax.metalearning.inner_adaptation import InnerLoop, InnerOptimizer
from metastyle_jax.metalearning.schedule import Schedule
from metastyle_jax.metalearning.structures import MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import adjuster, predictor, stylization_network, vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.settings.schema import Settings

# XLA:CPU needs inner steps one after the other to be fast, but then compiles each of them: beyond
# this many, inner.unroll="auto" makes them a loop there too
UNROLLED_AT_MOST = 5

# eps_root keeps Adam's root differentiable where a gradient is zero
INNER_OPTIMIZERS: Mapping[str, Callable[[jax.Array], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "adam": functools.partial(optax.adam, eps_root=1e-8),
}


def make_objective(config: Settings) -> perceptual.Objective:
    """The objective that a configuration describes."""
    return perceptual.Objective(
        content_layers=tuple(config.objective.content_layers),
        style_layers=tuple(config.objective.style_layers),
        content_weight=config.objective.content_weight,
        style_weight=config.objective.style_weight,
        style_loss=fusion.parse(config.objective.style_loss),
        style_layer_weights=tuple(config.objective.style_layer_weights),
        total_variation_weight=config.objective.total_variation_weight or None,
        lattice_weight=config.objective.lattice_weight or None,
        normalize=config.objective.normalize,
    )


def make_task(
    config: Settings, network: FeatureNetwork, predictor_network: FeatureNetwork | None = None
) -> StyleTask:
    """What a configuration asks the stylization network to do.

    Args:
      config: settings.
      network: the feature network of the loss.
      predictor_network: that of the predictor, if it is another one.
    """
    return StyleTask(
        objective=make_objective(config),
        network=network,
        predictor_network=predictor_network,
        noise=config.data.noise or None,
        dtype=dtype_of(config.model.dtype),
        style_noise=config.model.style_noise or None,
    )


def make_inner_loop(config: Settings, platform: str | None = None) -> InnerLoop:
    """The inner loop of a configuration on a platform, or on JAX's default backend."""
    return InnerLoop(
        subset=config.inner.subset,
        steps=config.inner.steps,
        estimator=make_estimator(config),
        unroll=unrolled(config, platform),
        optimizer=make_inner_optimizer(config),
    )


def make_schedule(config: Settings) -> Schedule:
    """What a configuration lets depend on the outer step."""
    return Schedule(
        style_warmup=config.outer.style_warmup,
        random_steps=config.inner.random_steps,
        multi_step=config.outer.multi_step,
        average_decay=config.objective.average_decay,
        subset=config.outer.subset,
        seed=config.seed,
    )


def unrolled(config: Settings, platform: str | None = None) -> bool:
    """Whether inner steps are compiled one after the other, not as a loop, on that platform."""
    unroll = config.inner.unroll
    if unroll == "auto":
        return (
            platform or jax.default_backend()
        ) == "cpu" and config.inner.steps <= UNROLLED_AT_MOST
    return unroll


def make_estimator(config: Settings) -> bilevel.Estimator:
    """The meta-gradient estimator of a configuration with its settings."""
    estimator = bilevel.ESTIMATORS[config.outer.estimator]
    options = {
        "truncated": {"last": config.outer.truncation},
        "implicit": {
            "damping": config.outer.implicit_damping,
            "solver_steps": config.outer.implicit_solver_steps,
        },
    }
    if config.outer.estimator in options:
        return functools.partial(estimator, **options[config.outer.estimator])
    return estimator


def make_inner_optimizer(config: Settings) -> InnerOptimizer:
    """(outer step, learned rates) -> the inner optimizer: clipping, the optimizer, learned rates.

    The optimizer's own rate decays with the outer step; learned rates multiply what it returns.
    """
    rate, decay, clip = config.inner.learning_rate, config.inner.decay, config.inner.clip
    folds, kind = subsets.folds(config.inner.subset), config.inner.learned_rates
    clip_by_norm = bilevel.clip_by_task_norm if folds else bilevel.clip_by_norm

    def make(step: jax.Array, multipliers: Any = None) -> optax.GradientTransformation:
        parts = [clip_by_norm(clip)] if clip else []
        now = rate / (1 + decay * step.astype("float32"))
        parts.append(INNER_OPTIMIZERS[config.inner.optimizer](now))
        if multipliers is not None:
            parts.append(learned_rates.scale_by_multipliers(kind, multipliers))
        return optax.chain(*parts)

    return make


def dtype_of(name: str) -> str | None:
    return None if name == "float32" else name


def init_params(config: Settings, key: jax.Array) -> MetaParameters:
    """What the outer optimizer moves: weights, style, learned rates, predictor, adjuster."""
    params = init_network(config, key)
    meta_parameters = MetaParameters(**params)
    if hidden := config.model.predictor:
        features = predictor_features(config) or config.features.network
        architecture = features.partition(":")[0]
        layers = config.objective.style_layers
        network = predictor.init(
            jax.random.fold_in(key, 1),
            params["style"],
            inputs=2 * sum(vgg.width(architecture, layer) for layer in layers),
            hidden=hidden,
        )
        meta_parameters = dataclasses.replace(meta_parameters, predictor=network)
    if hidden := config.model.adjuster:
        network = adjuster.init(
            jax.random.fold_in(key, 2),
            params["style"],
            inputs=len(config.objective.style_layers),
            hidden=hidden,
            layers=config.model.adjuster_layers,
            code=config.model.adjuster_code,
            deviation=config.model.adjuster_deviation,
        )
        meta_parameters = dataclasses.replace(meta_parameters, adjuster=network)
    if kind := config.inner.learned_rates:
        fast, _ = subsets.split(meta_parameters.adjustable, config.inner.subset)
        rates = learned_rates.init(kind, fast, config.inner.steps)
        meta_parameters = dataclasses.replace(meta_parameters, inner_rates=rates)
    return meta_parameters


def init_state(config: Settings, params: MetaParameters, optimizer: Any) -> outer_step.TrainState:
    """The state of a training before its first outer step."""
    averages = None
    if config.objective.average_decay:
        averages = moving_averages.init(make_objective(config))
    return outer_step.init_state(params, optimizer, averages)


def predictor_features(config: Settings) -> str:
    """The feature network that the predictor has for itself; "" if it has none."""
    return config.model.predictor_features if config.model.predictor else ""


def init_network(config: Settings, key: jax.Array) -> stylization_network.Params:
    """A new stylization network, `{"weights": ..., "style": ...}`."""
    return stylization_network.init(
        key,
        width=config.model.width,
        residual_blocks=config.model.residual_blocks,
        blur=config.model.blur,
    )


def make_outer_optimizer(config: Settings) -> optax.GradientTransformation:
    """Adam with the paper's decay, and warm-up and clipping where asked for."""
    rate, decay, warmup = config.outer.learning_rate, config.outer.decay, config.outer.warmup

    def schedule(step: Any) -> jax.Array:
        step = step.astype("float32")
        rise = jax.numpy.minimum(1.0, (step + 1) / (warmup + 1))
        return rate * rise / (1 + decay * step)

    parts: list[optax.GradientTransformation] = [optax.adam(schedule)]
    if config.outer.clip:
        parts.insert(0, optax.clip_by_global_norm(config.outer.clip))
    if (factor := config.outer.last_layer_rate) != 1:
        parts.append(optax.stateless(lambda updates, _: _scale_last_layer(updates, factor)))
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


# Any: optax's annotations list only containers of arrays
def _scale_last_layer(updates: Any, factor: float) -> Any:
    scaled = stylization_network.scale_last_layer({"weights": updates.weights}, factor)
    return dataclasses.replace(updates, weights=scaled["weights"])
