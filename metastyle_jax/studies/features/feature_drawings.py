"""Pixel optimization with several feature networks, measured by one judge."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np

from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.evaluation import judging
from metastyle_jax.evaluation.judging import Judge, relative
from metastyle_jax.pixels import image_optimization
from metastyle_jax.reporting.records import Row, labels, markdown_table, write_csv
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import ranges
from metastyle_jax.storage import overwriting
from metastyle_jax.storage.atomic import prepare_folder, write_text

_LOG = logging.getLogger(__name__)

CELL = 256  # pixels, of the sheet


@dataclasses.dataclass(frozen=True)
class DrawingStudy:
    """Settings of the study.

    Attributes:
      contents, styles: pictures; every content is drawn in every style.
      networks: what `features.registry.load` takes.
      judge: feature network of the judge.
      style_weight: of all of them, with relative losses, against a content weight of 1.
      size: side of all pictures in pixels.
      steps, learning_rate: of Adam on the pixels.
    """

    contents: tuple[str, ...]
    styles: tuple[str, ...]
    networks: tuple[str, ...] = ("distilled",)
    judge: str = "distilled"
    style_weight: float = 2.0
    size: int = 128
    steps: int = 120
    learning_rate: float = 0.02


_RANGES = {
    "style_weight": ranges.WEIGHT,
    "size": ranges.count(32),
    "steps": ranges.count(),
    "learning_rate": ranges.RATE,
}


def run(study: DrawingStudy, out: Path) -> None:
    """Optimize and measure; write `drawings.md`, `drawings.csv` and `drawings.png` below `out`.

    Raises:
      UserError: a network or a picture cannot be used.
    """
    ranges.refuse_empty(study, ("contents", "styles", "networks"))
    ranges.check_flags(study, _RANGES)
    overwriting.refuse_inside(out, [*study.contents, *study.styles])
    contents, styles = (
        [center_crop_resized(read_image(file), study.size) for file in files]
        for files in (study.contents, study.styles)
    )
    drawers = {
        label: relative(spec, study.style_weight)
        for label, spec in zip(labels(study.networks), study.networks, strict=True)
    }
    judge = relative(study.judge, study.style_weight)
    prepare_folder(out)
    rows: list[Row] = []
    drawn: dict[str, list[np.ndarray]] = {}
    for label, drawer in drawers.items():
        drawn[label] = []
        for file, style in zip(study.styles, styles, strict=True):
            images = _draw(study, drawer, np.stack(contents), style)
            drawn[label] += list(images)
            scores = judging.measure(judge, images, np.stack(contents), style)
            scores = {name: float(np.mean(values)) for name, values in scores.items()}
            rows.append({"network": label, "style image": Path(file).stem, **scores})
            _LOG.info(f"{label}, {Path(file).stem}: {scores['loss']:.3f}")
    _report(study, out, rows, drawn, contents, styles)


def _draw(
    study: DrawingStudy,
    drawer: Judge,
    contents: np.ndarray,
    style: np.ndarray,
) -> np.ndarray:
    """(N, H, W, 3)."""
    objective, network = drawer.objective, drawer.network
    targets = image_optimization.make_targets(objective, network, contents, [style] * len(contents))
    settings = image_optimization.OptimizationSettings(
        objective, steps=study.steps, learning_rate=study.learning_rate
    )
    start = image_optimization.start(contents, settings)
    return np.asarray(image_optimization.optimize(start, targets, network, settings).images)


def _report(
    study: DrawingStudy,
    out: Path,
    rows: list[Row],
    drawn: dict[str, list[np.ndarray]],
    contents: list[np.ndarray],
    styles: list[np.ndarray],
) -> None:
    pairs = [(content, style) for style in styles for content in contents]
    sheet = [[*pair, *(pictures[n] for pictures in drawn.values())] for n, pair in enumerate(pairs)]
    titles = ("content", "style", *drawn)
    write_png(out / "drawings.png", contact_sheet(sheet, column_titles=titles, cell=CELL))
    write_csv(out / "drawings.csv", rows)
    shown = ("network", "style image", "loss", "content", "style")
    text = (
        f"# Pixels optimized with several feature networks\n\n{study.steps} steps of Adam "
        f"({study.learning_rate:g}) from the content at {study.size} px, relative losses, style "
        f"weight {study.style_weight:g}; loss, content and style as {study.judge.partition(':')[0]}"
        f" finds them, means over {len(contents)} contents.\n\n"
        f"{markdown_table(rows, {name: name for name in shown})}\n![drawings](drawings.png)\n"
    )
    write_text(out / "drawings.md", text)
    _LOG.info(f"wrote {out / 'drawings.md'}")
