"""The settings of `gpu_train.py`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from configs import embedded, meta_adjustable
from metastyle_jax.networks import stylization_network
from metastyle_jax.settings import configuration, provenance
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage import initialization

CONFIGS = {"embedded": embedded, "meta_adjustable": meta_adjustable}


def make_config(args: argparse.Namespace, start: initialization.Initialization) -> Settings:
    """One of `CONFIGS` at 256 px, 4 styles x 4 contents, for the network of the start."""
    vgg16 = f"vgg16:{args.pack / 'vgg16_relu4_3_fp16.safetensors'}"
    changes: dict[str, Any] = {
        "data.image_size": args.size,
        # crops come from pictures as they are in the tars
        "data.min_scale": 1.0,
        "data.max_scale": 1.0,
        "batch.styles": 4,
        "batch.contents": 4,
        "model.init": "",  # --start
        "features.network": vgg16,
        "features.dtype": "bfloat16",
        "model.dtype": "bfloat16",
        "inner.steps": args.inner_steps,
        "outer.decay": 0.0,  # the rate follows the clock
    }
    for name, value in stylization_network.architecture(start.params["weights"]).items():
        changes[f"model.{name}"] = value
    if start.predictor is not None:
        changes["model.predictor"] = len(start.predictor["hidden"]["bias"])
        changes["model.predictor_features"] = predictor_features(start.settings, vgg16)
    for pair in args.set:
        name, _, value = pair.partition("=")
        changes[name] = _value(value)
    return configuration.changed(CONFIGS[args.config].get_config(), changes)


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
