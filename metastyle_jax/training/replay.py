"""What a training leaves of a step whose numbers are not finite: its pictures, and a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from metastyle_jax.data import device_cache, pipeline
from metastyle_jax.data.folder import FileSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.settings import schema
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage.atomic import write_text

FILE_NAME = "not_finite.json"


def record(
    workdir: Path, config: Settings, sources: Mapping[str, ImageSource], step: int, metric: str
) -> Path:
    """Write `not_finite.json`: step, metric, pictures of the batch, and how to repeat the step.

    Args:
      workdir: of the training.
      config: its settings.
      sources: of its pictures, "content" and "style".
      step: number of the step, from 1.
      metric: that was not finite.

    Returns:
      The path of the file.
    """
    path = workdir / FILE_NAME
    values = {
        "step": step,
        "metric": metric,
        "pictures": pictures(config, sources, step),
        "command": command(config, workdir),
    }
    write_text(path, json.dumps(values, indent=2) + "\n")
    return path


def command(config: Settings, workdir: Path) -> str:
    """Goes on from the newest checkpoint with the same batches, and logs every step."""
    defaults = schema.flatten(schema.default_config())
    changed = {name: v for name, v in schema.flatten(config).items() if v != defaults[name]}
    changed["log.every"] = 1
    flags = [f"--config.{name}={_as_flag(value)}" for name, value in changed.items()]
    words = ["metastyle", "train", "--config=configs/default.py", f"--workdir={workdir}"]
    return shlex.join([*words, "--resume", *flags])


def _as_flag(value: object) -> str:
    return repr(tuple(value)) if isinstance(value, list) else str(value)


def pictures(
    config: Settings, sources: Mapping[str, ImageSource], step: int
) -> dict[str, list[str]]:
    """The pictures of a step by stream, "styles", "support" and "query", over all devices."""
    rows = (device_cache if config.data.cache else pipeline).rows(
        {kind: len(source) for kind, source in sources.items()},
        counts=(config.batch.styles, config.batch.contents),
        seed=config.seed,
        step=step - 1,
    )
    kinds = {"styles": "style", "support": "content", "query": "content"}
    return {
        stream: [_name(sources[kinds[stream]], row) for row in numbers]
        for stream, numbers in rows.items()
    }


def _name(source: ImageSource, row: int) -> str:
    return source.name(row) if isinstance(source, FileSource) else f"{source!r} {row}"
