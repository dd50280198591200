"""From a configuration file with overrides to `Settings` that a training can use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion
from metastyle_jax.metalearning import subsets
from metastyle_jax.metalearning.structures import MetaParameters
from metastyle_jax.networks import vgg
from metastyle_jax.settings import construction, ranges, schema
from metastyle_jax.settings.schema import Settings

# settings of inner steps
_OF_STEPS = ("inner.learned_rates", "inner.random_steps", "outer.multi_step")


def read(config: ml_collections.ConfigDict | Settings) -> Settings:
    """The settings of a configuration.

    Raises:
      UserError: a setting is missing or unknown, or no run could use its value; naming the setting,
        its value and what it may be.
    """
    settings = schema.parse(schema.flatten(config))
    at_least = ranges.Range(settings.data.min_scale, ranges.LARGEST)
    at_least.check("config.data.max_scale", settings.data.max_scale)
    _check_combinations(settings)
    _check_layers(settings)
    _check_style_loss(settings)
    _check_subsets(settings)
    return settings


def changed(config: ml_collections.ConfigDict | Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with some changed by dotted name, `{"inner.steps": 3}`; see `read` for errors."""
    return read(schema.parse({**schema.flatten(config), **changes}))


def _check_combinations(config: Settings) -> None:
    """Refuse settings that one estimator would silently ignore."""
    flat = schema.flatten(config)
    estimator = flat["outer.estimator"]
    if estimator in ("reptile", "implicit"):
        for name in ("outer.multi_step", "inner.learned_rates"):
            if flat[name]:
                raise UserError(
                    f"config.{name}={flat[name]!r} has no effect with config.outer.estimator="
                    f"{estimator!r}, which looks at the end of the inner loop only: use exact"
                )
    if not flat["inner.steps"]:
        _check_without_steps(flat)
    if flat["model.predictor"] and flat["inner.subset"] not in ("norm", subsets.SLIDERS):
        raise UserError(
            "config.model.predictor predicts all of the style and nothing else: use "
            "config.inner.subset='norm'"
        )
    _check_adjustable(config)
    if estimator == "truncated" and flat["inner.random_steps"]:
        raise UserError(
            "config.inner.random_steps with config.outer.estimator='truncated' would often take "
            "none of the steps that are differentiated: use exact"
        )


def _check_without_steps(flat: Mapping[str, Any]) -> None:
    """Refuse what asks for inner steps where there are none."""
    asked = [name for name in _OF_STEPS if flat[name]]
    if flat["outer.estimator"] in ("reptile", "implicit"):
        asked.append("outer.estimator")
    if asked:
        raise UserError(
            f"config.{asked[0]}={flat[asked[0]]!r} has no effect with config.inner.steps=0: use 1 "
            "inner step or more, or leave it out"
        )


def _check_adjustable(config: Settings) -> None:
    if config.model.adjuster and config.inner.subset not in ("norm", subsets.SLIDERS):
        raise UserError(
            "config.model.adjuster moves the style, and each style of a step by other weights: use "
            "config.inner.subset='norm' or 'sliders'"
        )
    if config.model.style_noise and not subsets.folds(config.inner.subset):
        raise UserError(
            "config.model.style_noise moves each style of a step by other numbers: use "
            "config.inner.subset='norm' or 'sliders'"
        )
    if config.objective.average_decay == 1:
        raise UserError(
            "config.objective.average_decay=1 would never learn an average: use 0.99, or 0 for none"
        )


def _check_layers(config: Settings) -> None:
    if features := construction.predictor_features(config):
        _check_predictor_features(config, features)
    architecture = config.features.network.partition(":")[0]
    for name in ("content_layers", "style_layers"):
        try:
            convs = vgg.convs_of_loss(architecture, getattr(config.objective, name))
        except ValueError as error:
            setting = "features.network" if "unknown feature" in str(error) else f"objective.{name}"
            raise UserError(f"config.{setting}: {error}") from error
        if config.data.image_size >> (int(convs[-1][4]) - 1) < 1:
            raise UserError(f"config.data.image_size is too small for config.objective.{name}")


def _check_predictor_features(config: Settings, features: str) -> None:
    try:
        vgg.needed_convs(features.partition(":")[0], config.objective.style_layers)
    except ValueError as error:
        raise UserError(f"config.model.predictor_features: {error}") from error


def _check_style_loss(config: Settings) -> None:
    try:
        fusion.parse(config.objective.style_loss)
    except ValueError as error:
        raise UserError(f"config.objective.style_loss: {error}") from error
    weights, layers = config.objective.style_layer_weights, config.objective.style_layers
    if weights and (
        len(weights) != len(layers) or not all(0 < weight < math.inf for weight in weights)
    ):
        raise UserError(
            f"config.objective.style_layer_weights={tuple(weights)} needs a positive number for "
            f"each of the {len(layers)} style_layers, or none at all"
        )


def _check_subsets(config: Settings) -> None:
    # rates are learned for the inner subset, so that is checked before they are made
    plain = dataclasses.replace(config, inner=dataclasses.replace(config.inner, learned_rates=""))
    shapes = _shapes(plain)
    _check_subset("inner", shapes.adjustable, config.inner.subset)
    shapes = _shapes(config) if config.inner.learned_rates else shapes
    _check_subset("outer", shapes.parts(), config.outer.subset)


def _shapes(config: Settings) -> MetaParameters:
    return jax.eval_shape(lambda: construction.init_params(config, jax.random.key(0)))


def _check_subset(name: str, params: dict[str, Any], subset: str) -> None:
    try:
        subsets.split(params, subset)
    except ValueError as error:
        raise UserError(f"config.{name}.subset: {error}") from error
