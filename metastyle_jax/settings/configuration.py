"""From a ConfigDict to the explicit arguments of the lower layers; the ConfigDict stops here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import ml_collections
import optax

from metastyle_jax import bilevel
from metastyle_jax.bilevel import learned_rates
from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.metalearning import subsets
from metastyle_jax.metalearning.inner_adaptation import InnerLoop, InnerOptimizer
from metastyle_jax.metalearning.schedule import Schedule
from metastyle_jax.metalearning.structures import MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import predictor, stylization_network, vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import sharding
from metastyle_jax.settings import ranges

NOISE = "data.noise"  # in the files of styles too
# XLA:CPU needs inner steps one after the other to be fast, but then compiles each of them: beyond
# this many, inner.unroll="auto" makes them a loop there too
UNROLLED_AT_MOST = 5


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """All settings by dotted name: `{"inner.steps": 1, ...}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            flat |= {f"{name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[name] = _plain(value)
    return flat


def changed(
    config: ml_collections.ConfigDict, changes: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """A copy of `config` with settings changed by dotted name: `{"inner.steps": 3}`."""
    copy = config.copy_and_resolve_references()
    copy.update_from_flattened_dict(changes)
    return copy


def _typed(name: str, value: Any) -> Any:
    """A setting that is a word or a truth value, which a command line gives as a word."""
    words = {"true": True, "false": False}
    return words.get(str(value).lower(), value) if name == "inner.unroll" else value


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse values that no run could use.

    Raises:
      UserError: naming the setting, its value and what it may be.
    """
    flat = flatten(config)
    minimum = {
        "data.image_size": 16,
        "data.min_scale": 1,
        "data.max_scale": flat.get("data.min_scale", 1),
        "data.threads": 0,
        "batch.styles": 1,
        "batch.contents": 1,
        "model.width": 1,
        "model.residual_blocks": 0,
        "model.predictor": 0,
        "inner.steps": 0,
        "inner.learning_rate": 0,
        "inner.decay": 0,
        "inner.clip": 0,
        "outer.steps": 1,
        "outer.learning_rate": 0,
        "outer.decay": 0,
        "outer.warmup": 0,
        "outer.style_warmup": 0,
        "outer.first_order_steps": 0,
        "outer.multi_step": 0,
        "outer.truncation": 0,
        "outer.implicit_solver_steps": 1,
        "outer.clip": 0,
        "outer.last_layer_rate": 0,
        "objective.content_weight": 0,
        "objective.style_weight": 0,
        "objective.total_variation_weight": 0,
        "parallel.devices": 0,
        "log.every": 1,
        "log.sheet_every": 0,
        "checkpoint.every": 1,
        "checkpoint.keep": 1,
        "seed": 0,
    }
    require(flat, (*CHOICES, *minimum, NOISE), "configs/default.py")
    for name, allowed in CHOICES.items():
        if _typed(name, flat[name]) not in allowed:
            known = ", ".join(str(value) or "''" for value in allowed)
            raise UserError(f"config.{name}={flat[name]!r} is unknown: use one of {known}")
    check_minimum(flat, minimum)
    ranges.FRACTION.check(f"config.{NOISE}", flat[NOISE])
    damping = "outer.implicit_damping"
    ranges.POSITIVE_WEIGHT.check(f"config.{damping}", flat[damping])
    _check_combinations(flat)
    _check_layers(config)
    _check_style_loss(config)
    _check_subset(config)


def require(flat: Mapping[str, Any], names: Iterable[str], example: str) -> None:
    """Refuse settings (see `flatten`) that lack one of `names`, which the file `example` has.

    Raises:
      UserError: naming the setting that is missing.
    """
    for name in names:
        if name not in flat:
            raise UserError(f"the configuration has no {name}: start from {example}")


def check_minimum(flat: Mapping[str, Any], minimum: Mapping[str, float]) -> None:
    """Refuse settings (see `flatten`) below a minimum or beyond all reason, NaN too.

    Raises:
      UserError: naming the setting, what it may be and its value.
    """
    for name, least in minimum.items():
        ranges.Range(least, ranges.LARGEST).check(f"config.{name}", flat[name])


def _check_combinations(flat: Mapping[str, Any]) -> None:
    """Refuse settings that one estimator would silently ignore."""
    estimator = flat["outer.estimator"]
    if estimator in ("reptile", "implicit"):
        for name in ("outer.multi_step", "inner.learned_rates"):
            if flat[name]:
                raise UserError(
                    f"config.{name}={flat[name]!r} has no effect with config.outer.estimator="
                    f"{estimator!r}, which looks at the end of the inner loop only: use exact"
                )
    if flat["model.predictor"] and flat["inner.subset"] != "norm":
        raise UserError(
            "config.model.predictor predicts all of the style and nothing else: use "
            "config.inner.subset='norm'"
        )
    if estimator == "truncated" and flat["inner.random_steps"]:
        raise UserError(
            "config.inner.random_steps with config.outer.estimator='truncated' would often take "
            "none of the steps that are differentiated: use exact"
        )


def _check_layers(config: ml_collections.ConfigDict) -> None:
    architecture = config.features.network.partition(":")[0]
    for name in ("content_layers", "style_layers"):
        try:
            convs = vgg.needed_convs(architecture, config.objective[name])
        except ValueError as error:
            setting = "features.network" if "unknown feature" in str(error) else f"objective.{name}"
            raise UserError(f"config.{setting}: {error}") from error
        if config.data.image_size >> (int(convs[-1][4]) - 1) < 1:
            raise UserError(f"config.data.image_size is too small for config.objective.{name}")


def _check_style_loss(config: ml_collections.ConfigDict) -> None:
    try:
        fusion.parse(config.objective.style_loss)
    except ValueError as error:
        raise UserError(f"config.objective.style_loss: {error}") from error
    weights, layers = config.objective.style_layer_weights, config.objective.style_layers
    if weights and (len(weights) != len(layers) or not min(weights) > 0):
        raise UserError(
            f"config.objective.style_layer_weights={tuple(weights)} needs a positive number for "
            f"each of the {len(layers)} style_layers, or none at all"
        )


def _check_subset(config: ml_collections.ConfigDict) -> None:
    shapes = jax.eval_shape(lambda: _init_transformer(config, jax.random.key(0)))
    try:
        subsets.split(shapes, config.inner.subset)
    except ValueError as error:
        raise UserError(f"config.inner.subset: {error}") from error


def make_objective(config: ml_collections.ConfigDict) -> perceptual.Objective:
    """The objective that a configuration describes."""
    return perceptual.Objective(
        content_layers=tuple(config.objective.content_layers),
        style_layers=tuple(config.objective.style_layers),
        content_weight=config.objective.content_weight,
        style_weight=config.objective.style_weight,
        style_loss=fusion.parse(config.objective.style_loss),
        style_layer_weights=tuple(config.objective.style_layer_weights),
        total_variation_weight=config.objective.total_variation_weight or None,
        normalize=config.objective.normalize,
    )


def record_objective(objective: perceptual.Objective) -> dict[str, Any]:
    """The settings of an objective by dotted name, as `flatten` has them."""
    return {
        "objective.style_loss": objective.style_loss.name,
        **{f"objective.{name}": _plain(getattr(objective, name)) for name in _OBJECTIVE},
    }


def recorded_objective(recorded: Mapping[str, Any]) -> perceptual.Objective:
    """The objective that settings by dotted name describe; what they lack is `NORMALIZED`."""
    found = {
        name: recorded.get(f"objective.{name}", getattr(NORMALIZED, name)) for name in _OBJECTIVE
    }
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return perceptual.Objective(
        style_loss=fusion.parse(recorded.get("objective.style_loss", "gram")),
        **values,
    )


def record_features(network: FeatureNetwork) -> dict[str, Any]:
    """The settings of a feature network by dotted name, as `flatten` has them."""
    return {"features.network": network.spec, "features.pooling": network.pooling}


def recorded_features(recorded: Mapping[str, Any], instead: str = "") -> tuple[str, str]:
    """Which feature network settings by dotted name describe, and how it pools.

    Args:
      recorded: settings; a training that recorded none used `EMBEDDED_FEATURES`.
      instead: the network to use in its place; one of another architecture pools as it was trained.

    Returns:
      (spec, pooling), see `features.registry.load`.
    """
    spec = recorded.get("features.network", EMBEDDED_FEATURES)
    architecture = (instead or spec).partition(":")[0]
    own = vgg.POOLING.get(architecture, "max")
    if architecture != spec.partition(":")[0]:
        return instead, own
    return instead or spec, recorded.get("features.pooling") or own


def recorded_noise(recorded: Mapping[str, Any]) -> float:
    """The noise that a training or an adaptation was made with; 0 if nobody recorded one."""
    return recorded.get(NOISE, 0.0)


# settings that are one of a few values
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "inner.optimizer": ("sgd", "momentum", "adam"),
    "inner.learned_rates": ("", *learned_rates.KINDS),
    "inner.unroll": ("auto", True, False),
    "outer.estimator": tuple(bilevel.ESTIMATORS),
    "features.pooling": ("", "max", "average"),
    "features.dtype": ("float32", "bfloat16"),
    "model.dtype": ("float32", "bfloat16"),
    "model.blur": (True, False),
    "parallel.kind": tuple(sharding.KINDS),
}

_OBJECTIVE = (
    "content_layers",
    "style_layers",
    "content_weight",
    "style_weight",
    "style_layer_weights",
    "total_variation_weight",
    "normalize",
)

# for parameters whose training nobody recorded
EMBEDDED_FEATURES = "compact"
NORMALIZED = perceptual.Objective(
    style_layers=("relu1_2", "relu2_2", "relu3_3"),
    style_weight=5.0,
    normalize=True,
)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def make_task(config: ml_collections.ConfigDict, network: FeatureNetwork) -> StyleTask:
    """What a configuration asks the stylization network to do, judged by `network`."""
    return StyleTask(
        objective=make_objective(config),
        network=network,
        noise=config.data.noise or None,
        dtype=dtype_of(config.model.dtype),
    )


def make_inner_loop(config: ml_collections.ConfigDict) -> InnerLoop:
    """The inner loop of a configuration."""
    return InnerLoop(
        subset=config.inner.subset,
        steps=config.inner.steps,
        estimator=make_estimator(config),
        unroll=unrolled(config),
        optimizer=make_inner_optimizer(config),
    )


def make_schedule(config: ml_collections.ConfigDict) -> Schedule:
    """What a configuration lets depend on the outer step."""
    return Schedule(
        style_warmup=config.outer.style_warmup,
        random_steps=config.inner.random_steps,
        multi_step=config.outer.multi_step,
        seed=config.seed,
    )


def unrolled(config: ml_collections.ConfigDict) -> bool:
    """Whether inner steps are compiled one after the other, not as a loop, on this backend."""
    unroll = _typed("inner.unroll", config.inner.unroll)
    if unroll == "auto":
        return jax.default_backend() == "cpu" and config.inner.steps <= UNROLLED_AT_MOST
    return unroll


def make_estimator(config: ml_collections.ConfigDict) -> bilevel.Estimator:
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


def dtype_of(name: str) -> str | None:
    return None if name == "float32" else name


# eps_root keeps Adam's root differentiable where a gradient is zero
INNER_OPTIMIZERS: Mapping[str, Callable[[jax.Array], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "adam": functools.partial(optax.adam, eps_root=1e-8),
}


def make_inner_optimizer(config: ml_collections.ConfigDict) -> InnerOptimizer:
    """(outer step, learned rates) -> the inner optimizer: clipping, the optimizer, learned rates.

    The optimizer's own rate decays with the outer step; learned rates multiply what it returns.
    """
    rate, decay, clip = config.inner.learning_rate, config.inner.decay, config.inner.clip
    folds, kind = subsets.folds(config.inner.subset), config.inner.learned_rates
    clip_by_norm = bilevel.clip_by_task_norm if folds else optax.clip_by_global_norm

    def make(step: jax.Array, multipliers: Any = None) -> optax.GradientTransformation:
        parts = [clip_by_norm(clip)] if clip else []
        now = rate / (1 + decay * step.astype("float32"))
        parts.append(INNER_OPTIMIZERS[config.inner.optimizer](now))
        if multipliers is not None:
            parts.append(learned_rates.scale_by_multipliers(kind, multipliers))
        return optax.chain(*parts)

    return make


def init_params(config: ml_collections.ConfigDict, key: jax.Array) -> MetaParameters:
    """What the outer optimizer moves: weights, style, learned inner rates, a predictor."""
    params = _init_transformer(config, key)
    meta_parameters = MetaParameters(**params)
    if kind := config.inner.learned_rates:
        fast, _ = subsets.split(params, config.inner.subset)
        rates = learned_rates.init(kind, fast, config.inner.steps)
        meta_parameters = meta_parameters.replace(inner_rates=rates)
    if hidden := config.model.predictor:
        architecture = config.features.network.partition(":")[0]
        layers = config.objective.style_layers
        network = predictor.init(
            jax.random.fold_in(key, 1),
            params["style"],
            inputs=2 * sum(vgg.width(architecture, layer) for layer in layers),
            hidden=hidden,
        )
        meta_parameters = meta_parameters.replace(predictor=network)
    return meta_parameters


def _init_transformer(
    config: ml_collections.ConfigDict, key: jax.Array
) -> stylization_network.Params:
    return stylization_network.init(
        key,
        width=config.model.width,
        residual_blocks=config.model.residual_blocks,
        blur=config.model.blur,
    )


def make_outer_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam with the paper's decay, and warm-up and clipping where asked for."""
    rate, decay, warmup = config.outer.learning_rate, config.outer.decay, config.outer.warmup

    def schedule(step: jax.Array) -> jax.Array:
        step = step.astype("float32")
        rise = jax.numpy.minimum(1.0, (step + 1) / (warmup + 1))
        return rate * rise / (1 + decay * step)

    parts = [optax.adam(schedule)]
    if config.outer.clip:
        parts.insert(0, optax.clip_by_global_norm(config.outer.clip))
    if (factor := config.outer.last_layer_rate) != 1:
        parts.append(optax.stateless(lambda updates, _: _scale_last_layer(updates, factor)))
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


def _scale_last_layer(updates: MetaParameters, factor: float) -> MetaParameters:
    scaled = stylization_network.scale_last_layer({"weights": updates.weights}, factor)
    return updates.replace(weights=scaled["weights"])
