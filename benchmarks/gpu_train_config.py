"""The settings of `gpu_train.py`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from configs import embedded
from metastyle_jax.networks import stylization_network
from metastyle_jax.settings import configuration, provenance
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage import initialization


def make_config(args: argparse.Namespace, start: initialization.Initialization) -> Settings:
    """configs/embedded.py with VGG-16 in its losses, for the network of the start."""
    vgg16 = f"vgg16:{args.pack / 'vgg16_relu4_3_fp16.safetensors'}"
    changes: dict[str, Any] = {
        "data.image_size": args.size,
        # crops come from pictures as they are in the tars
        "data.min_scale": 1.0,
        "data.max_scale": 1.0,
        "batch.styles": 4,
        "batch.contents": 4,
        "features.network": vgg16,
        "features.dtype": "bfloat16",
        "model.dtype": "bfloat16",
        "objective.content_layers": ["relu3_3"],
        "objective.style_layers": ["relu1_1", "relu2_1", "relu3_1", "relu4_1"],
        "objective.style_weight": 3.0,
        "inner.steps": args.inner_steps,
        "outer.decay": 0.0,  # the rate follows the clock
        "outer.style_warmup": 0,
    }
    for name, value in stylization_network.architecture(start.params["weights"]).items():
        changes[f"model.{name}"] = value
    spec, pooling = provenance.recorded_features(start.settings)
    if spec.partition(":")[0] == "vgg16":
        changes["features.pooling"] = pooling
    if start.predictor is not None:
        changes["model.predictor"] = len(start.predictor["hidden"]["bias"])
        changes["model.predictor_features"] = predictor_features(start.settings, vgg16)
    for pair in args.set:
        name, _, value = pair.partition("=")
        changes[name] = _value(value)
    return configuration.changed(embedded.get_config(), changes)


def predictor_features(recorded: Mapping[str, Any], vgg16: str) -> str:
    """What the predictor of a start sees styles with, VGG-16 by its file; empty as in the loss."""
    if spec := recorded.get("model.predictor_features"):
        return vgg16 if spec.partition(":")[0] == "vgg16" else spec
    spec, _ = provenance.recorded_features(recorded)
    return "" if spec.partition(":")[0] == "vgg16" else spec


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
