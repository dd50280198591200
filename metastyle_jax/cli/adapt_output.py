"""What `adapt` writes: the style, the pictures, a sheet and a report."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metastyle_jax.adaptation import service
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import provenance
from metastyle_jax.storage.atomic import write_text
from metastyle_jax.stylization import picture_files

STYLE_FILE, PARAMS_FILE = "style.safetensors", "params.safetensors"
SHEET, SLIDERS_SHEET = "sheet.png", "sliders.png"
IMAGES = "images"  # folder of the pictures
SHEET_ROWS = 8


class Task(NamedTuple):
    """What `adapt` was asked to do, with everything read.

    Attributes:
      args: flags.
      style_path, style: the style image, file and (H, W, 3) in [0, 1].
      contents: pictures to stylize.
      crops: of the first ones, which losses are measured on, (N, size, size, 3) in [0, 1].
      start: where it starts, and what it minimizes.
    """

    args: argparse.Namespace
    style_path: Path
    style: np.ndarray
    contents: list[Path]
    crops: np.ndarray
    start: service.Start


class AdaptedTask(NamedTuple):
    """An adaptation with all that is recorded of it.

    Attributes:
      task: what was asked for.
      result: what it reached.
      before, after: losses, "loss", "content" and "style".
    """

    task: Task
    result: service.Adapted
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
    names = (STYLE_FILE, PARAMS_FILE, SHEET, SLIDERS_SHEET, "report.json")
    return [*(out / name for name in names), *picture_files.output_files(contents, out / IMAGES)]


def write_style(out: Path, adapted: AdaptedTask) -> Path:
    """Write `style.safetensors`, or `params.safetensors` if all parameters moved.

    Raises:
      UserError: it cannot be written.
    """
    stylizer = adapted.result.stylizer
    path = out / (STYLE_FILE if stylizer.weights_are_named else PARAMS_FILE)
    stylizer.save(path, command=adapted.task.args.command_line)
    return path


def write_sheet(out: Path, adapted: AdaptedTask, drawn: Sequence[tuple[Path, Path]]) -> None:
    """Write `sheet.png`: content, style, before, after.

    Args:
      out: folder.
      adapted: the adaptation.
      drawn: (content, its picture) pairs of files.
    """
    task, rows = adapted.task, []
    for content, picture in drawn[:SHEET_ROWS]:
        image = picture_files.read_content(content)
        before = task.start.stylizer(image)
        rows.append([image, task.style, before, read_image(picture)])
    titles = ("content", "style", "before", f"after {adapted.steps} steps")
    write_png(out / SHEET, contact_sheet(rows, column_titles=titles, cell=256))


def write_sliders(out: Path, style: Path, adapted: AdaptedTask, content: Path) -> None:
    """Write `sliders.png` if there are sliders: all at three weights; each, the others at 0.

    Args:
      out: folder.
      style: the file that has the sliders.
      adapted: the adaptation.
      content: the picture that is drawn.
    """
    stylizer = adapted.result.stylizer
    if stylizer.sliders is None:
        return
    image = picture_files.read_content(content)
    layers, weights = stylizer.sliders.layers, (0.5, 1.0)
    without = dict.fromkeys(layers, 0.0)
    lowest = stylizer(image, alpha=without)
    rows = [
        [lowest, *(stylizer(image, alpha=without | dict.fromkeys(moved, w)) for w in weights)]
        for moved in (layers, *([layer] for layer in layers))
    ]
    titles = [f"{weight:g}" for weight in (0, *weights)]
    sheet = contact_sheet(rows, column_titles=titles, row_titles=["all", *layers], cell=256)
    write_png(out / SLIDERS_SHEET, sheet)
    print(
        f"sliders: metastyle stylize {style} PICTURES --out=out --alpha="
        f"{','.join(f'{layer}:1' for layer in layers)}; see {out / SLIDERS_SHEET}"
    )


def write_report(out: Path, adapted: AdaptedTask, failures: Sequence[str]) -> dict[str, Any]:
    """Write `report.json` and return what it holds.

    Raises:
      UserError: it cannot be written.
    """
    task, args, result = adapted.task, adapted.task.args, adapted.result
    start, record = task.start, task.start.stylizer.record
    report = {
        "style": str(task.style_path),
        "init": record.weights_name,
        "weights_digest": record.weights_digest,
        "parameters": args.parameters,
        "start": record.settings[provenance.START],
        **provenance.record_features(start.network),
        "steps": adapted.steps,
        "interrupted": adapted.steps < args.steps,
        "warnings": adapted.warnings,
        "failures": list(failures),
        "learning_rate": args.learning_rate,
        "noise": start.stylizer.input_noise,
        "style_loss": start.objective.style_loss.name,
        "style_weight": start.objective.style_weight,
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        **{f"{part}_before": value for part, value in adapted.before.items()},
        **{f"{part}_after": value for part, value in adapted.after.items()},
        "history": result.history,
    }
    write_text(out / "report.json", json.dumps(report, indent=2) + "\n")
    return report
