"""Which settings may change when a run is resumed.

A few settings give the arrays of the state their shapes. They must stay the same. All others may
change, and one line says which did, because the run then differs from an uninterrupted one. Folders
of pictures are recognized by the names and sizes of their files, so they may be moved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import jax

from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.networks import convolution_forms
from metastyle_jax.settings import provenance, schema
from metastyle_jax.settings.schema import Settings

_NETWORK = ("model.width", "model.residual_blocks", "model.blur", "model.predictor")
_ORDER = ("seed", "data.content", "data.style", "data.cache", "batch.styles", "batch.contents")
_DATA = ("content", "style")
_FORMS = "cpu.convolutions"


def fixed(config: Settings) -> dict[str, Any]:
    """The settings that must stay the same, because they shape the state."""
    flat = schema.flatten(config)
    names = [*_NETWORK, "inner.learned_rates"]
    if flat["inner.learned_rates"]:
        names.append("inner.subset")
    if flat["inner.learned_rates"] == "layer_step":
        names.append("inner.steps")
    if flat["model.predictor"]:
        names.append("objective.style_layers")
        # checkpoints of before this setting lack it, and mean features.network as "" does
        if flat["model.predictor_features"]:
            names.append("model.predictor_features")
    # checkpoints of before these settings lack them, too
    if flat["model.adjuster"]:
        names += ["model.adjuster", "model.adjuster_layers", "objective.style_layers"]
        if flat["model.adjuster_code"]:
            names.append("model.adjuster_code")
    if flat["objective.average_decay"]:
        names += ["objective.content_layers", "objective.style_layers"]
    return {name: flat[name] for name in names}


def recorded(config: Settings, sources: Mapping[str, ImageSource]) -> dict[str, Any]:
    """What each checkpoint records: all settings, and the contents of the picture folders.

    Args:
      config: of the run.
      sources: by kind, "content" and "style".

    Returns:
      Settings by dotted name; `files.content` and `files.style`, see `FolderSource.fingerprint`;
      and how a CPU computes convolutions, which `metastyle doctor --measure` may change.
    """
    files = {
        f"files.{kind}": source.fingerprint()
        for kind, source in sources.items()
        if isinstance(source, FolderSource)
    }
    on_cpu = jax.default_backend() == "cpu"
    forms = {_FORMS: convolution_forms.used()._asdict()} if on_cpu else {}
    return schema.flatten(config) | files | forms


def notice(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """One line that names the settings that differ, or None.

    Args:
      before: what the checkpoint recorded. Files and settings may be missing in old ones.
      now: as `recorded`.
    """
    before, now = _comparable(before), _comparable(now)
    before.setdefault("data.cache", "")  # nor was there one before this setting
    before.setdefault(_FORMS, now.get(_FORMS))  # nor others; and a GPU has none
    for kind in _DATA:
        _name_data_by_files(before, now, kind)
    _resolve_pooling(before, now)
    differing = [name for name in now if name not in before or before[name] != now[name]]
    if not differing:
        return None
    parts = ", ".join(
        f"{name} {_show(before[name]) if name in before else 'not set'} -> {_show(now[name])}"
        for name in differing
    )
    order = "; the data come in another order than before" if set(_ORDER) & set(differing) else ""
    return f"other than in the checkpoint: {parts}{order}"


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON returns it: tuples are lists."""
    return json.loads(json.dumps(dict(values)))


def _name_data_by_files(before: dict[str, Any], now: dict[str, Any], kind: str) -> None:
    """Replace, in place, the path of a folder by its files; normalize it where they are unknown."""
    setting = f"data.{kind}"
    had, has = before.pop(f"files.{kind}", None), now.pop(f"files.{kind}", None)
    if had == has and has:
        before[setting] = now[setting]
        return
    for values, files in ((before, had), (now, has)):
        if has and setting in values:
            path = os.path.normpath(values[setting])
            values[setting] = f"{path} ({files})" if had and files else path


def _resolve_pooling(before: dict[str, Any], now: dict[str, Any]) -> None:
    """An empty pooling means that of the network: write it out."""
    if "features.pooling" in now and "features.network" in before:
        for values in (before, now):
            values["features.pooling"] = provenance.recorded_features(values)[1]


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
