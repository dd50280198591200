"""What files record of how they were made, as settings by dotted name, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.networks import vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.storage import style_packs

NOISE = "data.noise"
# settings that may name files or folders of the machine that a training ran on
_PLACES = ("data.content", "data.style", "data.tfds_dir", "model.init", "init")
_NETWORKS = ("features.network", "model.predictor_features")
BLEND = "blend"  # shares of the styles that a style is a blend of, by their names
START = "adaptation.start"  # "neutral" or "predicted"
# for parameters whose training nobody recorded
EMBEDDED_FEATURES = "compact"
NORMALIZED = perceptual.Objective(
    style_layers=("relu1_2", "relu2_2", "relu3_3"),
    style_weight=5.0,
    normalize=True,
)

_OBJECTIVE = (
    "content_layers",
    "style_layers",
    "content_weight",
    "style_weight",
    "style_layer_weights",
    "normalize",
)


def record_objective(objective: perceptual.Objective) -> dict[str, Any]:
    """The settings of an objective by dotted name, as `flatten` has them."""
    return {
        "objective.style_loss": objective.style_loss.name,
        **{f"objective.{name}": _plain(getattr(objective, name)) for name in _OBJECTIVE},
        "objective.total_variation_weight": objective.total_variation_weight or 0.0,
        "objective.lattice_weight": objective.lattice_weight or 0.0,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def recorded_objective(recorded: Mapping[str, Any]) -> perceptual.Objective:
    """The objective that settings by dotted name describe; what they lack is `NORMALIZED`.

    Losses that a training brought to one size by their moving averages are relative here: the
    averages belong to its steps, and without either the content alone would count.
    """
    values = {
        name: recorded.get(f"objective.{name}", getattr(NORMALIZED, name)) for name in _OBJECTIVE
    }
    values["normalize"] = bool(values["normalize"] or recorded.get("objective.average_decay"))
    return perceptual.Objective(
        style_loss=fusion.parse(recorded.get("objective.style_loss", "gram")),
        total_variation_weight=recorded.get("objective.total_variation_weight") or None,
        lattice_weight=recorded.get("objective.lattice_weight") or None,
        **{name: _tupled(value) for name, value in values.items()},
    )


def record_features(network: FeatureNetwork) -> dict[str, Any]:
    """The settings of a feature network by dotted name, as `flatten` has them."""
    return {"features.network": network.spec, "features.pooling": network.pooling}


def recorded_features(recorded: Mapping[str, Any], instead: str = "") -> tuple[str, vgg.Pooling]:
    """Which feature network settings by dotted name describe, and how it pools.

    Args:
      recorded: settings; a training that recorded none used `EMBEDDED_FEATURES`.
      instead: the network to use in its place; one of another architecture pools as it was trained.

    Returns:
      (spec, pooling), see `features.registry.load`.
    """
    spec = recorded.get("features.network", EMBEDDED_FEATURES)
    architecture = (instead or spec).partition(":")[0]
    trained_with = vgg.POOLING.get(architecture, "max")
    if architecture != spec.partition(":")[0]:
        return instead, trained_with
    return instead or spec, recorded.get("features.pooling") or trained_with


def recorded_predictor_features(recorded: Mapping[str, Any]) -> tuple[str, vgg.Pooling]:
    """What a predictor saw the styles with, and how that pools, see `features.registry.load`."""
    spec = recorded.get("model.predictor_features")
    if not spec:
        return recorded_features(recorded)
    return spec, vgg.POOLING[spec.partition(":")[0]]


def recorded_noise(recorded: Mapping[str, Any]) -> float:
    """The noise that a training or an adaptation was made with; 0 if nobody recorded one."""
    return recorded.get(NOISE, 0.0)


def without_places(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without files and folders, for files that are given away.

    Where something lies on the machine of a training is nobody's business. Of a feature network its
    name is left: "vgg16" of "vgg16:FILE".
    """
    kept = {name: value for name, value in recorded.items() if name not in _PLACES}
    for name in kept.keys() & set(_NETWORKS):
        kept[name] = str(kept[name]).partition(":")[0]
    if BLEND in kept:
        kept[BLEND] = _by_bare_name(kept[BLEND])
    return kept


def without_folder(name: str) -> str:
    """The name of a style without its place: of a file its own, of a pack "pack:NAME"."""
    return name if name.startswith(style_packs.PREFIX) else Path(name).name


def blend_name(made_of: Mapping[str, float]) -> str:
    """What a blend is called: "0.7 pack:a + 0.3 pack:b"."""
    return " + ".join(f"{share:.2g} {name}" for name, share in made_of.items())


def _by_bare_name(made_of: Mapping[str, float]) -> dict[str, float]:
    """Files of one name in several folders stay apart: "style.safetensors (2)"."""
    kept: dict[str, float] = {}
    for place, share in made_of.items():
        name, number = without_folder(place), 2
        while name in kept:
            name, number = f"{without_folder(place)} ({number})", number + 1
        kept[name] = share
    return kept
