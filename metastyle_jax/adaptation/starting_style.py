"""The style that an adaptation starts from: neutral, or predicted from the style image."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.networks import predictor
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import provenance
from metastyle_jax.storage.initialization import Initialization
from metastyle_jax.stylization import stylizer
from metastyle_jax.stylization.stylizer import Stylizer

NEUTRAL, PREDICTED = "neutral", "predicted"
KINDS = (NEUTRAL, PREDICTED)


def kind_of(init: Initialization, wanted: str = "") -> str:
    """The start of an initialization, "neutral" or "predicted".

    Args:
      init: the initialization.
      wanted: one of these; "" for predicted where there is a predictor, else neutral.

    Raises:
      UserError: predicted is wanted, and there is no predictor; or another word is wanted.
    """
    if wanted not in ("", *KINDS):
        raise UserError(f"the start {wanted!r} is unknown: use {' or '.join(KINDS)}")
    if wanted == PREDICTED and init.predictor is None:
        raise UserError(
            f"{init.name} has no predictor to start from: use neutral, or train one with "
            "--config.model.predictor=128"
        )
    return wanted or (NEUTRAL if init.predictor is None else PREDICTED)


def stylizer_at_start(init: Initialization, style_image: np.ndarray, start: str = "") -> Stylizer:
    """The stylizer that an adaptation to a style image begins with.

    Args:
      init: the initialization.
      style_image: (H, W, 3) in [0, 1], at the resolution that it is adapted to.
      start: "neutral", one style for all images; "predicted"; or "" for predicted where there is a
        predictor.

    Returns:
      The stylizer; its record has the start among the settings.

    Raises:
      UserError: there is no predictor, or its feature network cannot be loaded.
    """
    kind = kind_of(init, start)
    style = predicted_style(init, style_image) if kind == PREDICTED else None
    beginning = stylizer.from_initialization(init, style)
    settings = {**beginning.record.settings, provenance.START: kind}
    record = dataclasses.replace(beginning.record, settings=settings)
    return dataclasses.replace(beginning, record=record)


def predicted_style(init: Initialization, style_image: np.ndarray) -> Any:
    """The style that the predictor of an initialization gives an image, leaves (C,) float32.

    Raises:
      UserError: the feature network of the predictor cannot be loaded.
    """
    layers = provenance.recorded_objective(init.settings).style_layers
    spec, pooling = provenance.recorded_predictor_features(init.settings)
    network = registry.load(spec, layers, pooling=pooling)
    return _predict(init.predictor, network, style_image, init.params["style"], layers)


@functools.partial(compilation.jit, static_argnames="layers")
def _predict(
    params: predictor.Params,
    network: FeatureNetwork,
    style_image: jax.Array,
    like: Any,
    layers: tuple[str, ...],
) -> Any:
    styles = predictor.predict_from_images(params, network, layers, style_image[None], like)
    return jax.tree.map(lambda leaf: leaf[0], styles)
