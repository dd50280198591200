"""What a resumed run must share with the one it continues, and what is said of all the rest.

Arrays of the state have the shapes that a few settings give them: those must stay. Everything else
may change from one session to the next; one line says what does, for the run is not what an
uninterrupted one would have been. Folders of pictures are known by the names and sizes of their
files: they may be moved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.settings import provenance, schema
from metastyle_jax.settings.schema import Settings

_NETWORK = ("model.width", "model.residual_blocks", "model.blur", "model.predictor")
_ORDER = ("seed", "data.content", "data.style", "batch.styles", "batch.contents")
_DATA = ("content", "style")


def fixed(config: Settings) -> dict[str, Any]:
    """The settings that a resumed training must share: they shape the state."""
    flat = schema.flatten(config)
    names = [*_NETWORK, "inner.learned_rates"]
    if flat["inner.learned_rates"]:
        names.append("inner.subset")
    if flat["inner.learned_rates"] == "layer_step":
        names.append("inner.steps")
    if flat["model.predictor"]:
        names.append("objective.style_layers")
    return {name: flat[name] for name in names}


def recorded(config: Settings, sources: Mapping[str, ImageSource]) -> dict[str, Any]:
    """What each checkpoint records: all settings, and what is in the folders of pictures.

    Args:
      config: of the run.
      sources: by kind, "content" and "style".

    Returns:
      Settings by dotted name; `files.content` and `files.style`, see `FolderSource.fingerprint`.
    """
    files = {
        f"files.{kind}": source.fingerprint()
        for kind, source in sources.items()
        if isinstance(source, FolderSource)
    }
    return schema.flatten(config) | files


def notice(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """One line on what differs, or None.

    Args:
      before: as a checkpoint has it; one of an earlier version may lack files, or settings.
      now: as `recorded`.
    """
    before, now = _comparable(before), _comparable(now)
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
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(dict(values)))


def _name_data_by_files(before: dict[str, Any], now: dict[str, Any], kind: str) -> None:
    """Replace the paths of a folder, in place, by what is in it; where unknown, tidy them."""
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
    """A run may say what its network pools by, or leave it to the network."""
    if "features.pooling" in now and "features.network" in before:
        for values in (before, now):
            values["features.pooling"] = provenance.recorded_features(values)[1]


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
