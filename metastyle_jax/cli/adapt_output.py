"""What adapt.py writes: the style, the pictures, a sheet and a report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.losses import perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import configuration
from metastyle_jax.storage import initialization, style_file
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.stylization import picture_files

STYLE_FILE, PARAMS_FILE = "style.safetensors", "params.safetensors"
IMAGES = "images"  # folder of the pictures
SHEET_ROWS = 8


class Task(NamedTuple):
    """What adapt.py was asked to do, with everything read.

    Attributes:
      args: flags.
      style_path, style: the style image, file and (H, W, 3) in [0, 1].
      contents: pictures to stylise.
      crops: of the first ones, which losses are measured on, (N, size, size, 3) in [0, 1].
      init: where it starts.
      network, objective: what it minimises.
    """

    args: argparse.Namespace
    style_path: Path
    style: np.ndarray
    contents: list[Path]
    crops: np.ndarray
    init: initialization.Initialization
    network: FeatureNetwork
    objective: perceptual.Objective


class Adapted(NamedTuple):
    """An adaptation with all that is recorded of it.

    Attributes:
      task: what was asked for.
      result: what it reached.
      before, after: losses, "loss", "content" and "style".
    """

    task: Task
    result: style_adaptation.Adaptation
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def steps(self) -> int:
        """Steps taken: fewer than asked for if it was interrupted."""
        return len(self.result.history)

    @property
    def warnings(self) -> list[str]:
        """Sentences on what the numbers say has gone wrong."""
        before, after = self.before["loss"], self.after["loss"]
        if after <= before:
            return []
        return [
            f"the loss ended at {after:.4g}, above {before:.4g} where it began: lower "
            f"--learning-rate (now {self.task.args.learning_rate:g})"
        ]


def planned_files(out: Path, contents: Sequence[Path]) -> list[Path]:
    """Every file that an adaptation may write."""
    names = (STYLE_FILE, PARAMS_FILE, "sheet.png", "report.json")
    return [*(out / name for name in names), *picture_files.output_files(contents, out / IMAGES)]


def write_style(out: Path, adapted: Adapted) -> Path:
    """Write `style.safetensors`, or `params.safetensors` if all parameters moved.

    Raises:
      UserError: it cannot be written.
    """
    task, args = adapted.task, adapted.task.args
    described = {
        "init": task.init.name,
        "adaptation.steps": adapted.steps,
        "adaptation.learning_rate": args.learning_rate,
        configuration.NOISE: args.noise,
        **configuration.record_features(task.network),
        **configuration.record_objective(task.objective),
    }
    command = shlex.join(["adapt.py", *sys.argv[1:]])
    params = jax.device_get(adapted.result.params)
    if args.parameters == "all":
        path = out / PARAMS_FILE
        style_file.save_params(path, params, settings=described, command=command)
        return path
    path = out / STYLE_FILE
    style_file.save_style(
        path,
        params["style"],
        weights_digest=task.init.digest,
        settings=described,
        command=command,
    )
    return path


def write_sheet(out: Path, adapted: Adapted, drawn: Sequence[tuple[Path, Path]]) -> None:
    """Write `sheet.png`: content, style, before, after.

    Args:
      out: folder.
      adapted: the adaptation.
      drawn: (content, its picture) pairs of files.
    """
    task, rows = adapted.task, []
    for content, picture in drawn[:SHEET_ROWS]:
        image = picture_files.read_content(content)
        before = picture_files.stylize_image(task.init.params, image, task.args.noise)
        rows.append([image, task.style, before, read_image(picture)])
    titles = ("content", "style", "before", f"after {adapted.steps} steps")
    write_png(out / "sheet.png", contact_sheet(rows, column_titles=titles, cell=256))


def write_report(out: Path, adapted: Adapted, failures: Sequence[str]) -> dict[str, Any]:
    """Write `report.json` and return what it holds.

    Raises:
      UserError: it cannot be written.
    """
    task, args, result = adapted.task, adapted.task.args, adapted.result
    report = {
        "style": str(task.style_path),
        "init": task.init.name,
        "weights_digest": task.init.digest,
        "parameters": args.parameters,
        **configuration.record_features(task.network),
        "steps": adapted.steps,
        "interrupted": adapted.steps < args.steps,
        "warnings": adapted.warnings,
        "failures": list(failures),
        "learning_rate": args.learning_rate,
        "noise": args.noise,
        "style_loss": task.objective.style_loss.name,
        "style_weight": task.objective.style_weight,
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        **{f"{part}_before": value for part, value in adapted.before.items()},
        **{f"{part}_after": value for part, value in adapted.after.items()},
        "history": result.history,
    }
    with atomic_path(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report
