"""Diversity measured: how much do random variations of a drawing differ?

Figures 5, 8 and 10 of Babaeizadeh & Ghiasi 2020: random weights of the style layers, content noise,
both; and the baselines of the paper, noise on the parameters of the style when drawing, with a
network that was trained without it or with it. Drawings that differ because they lose the style are
worth little: diversity stands beside the losses.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
from pathlib import Path

import numpy as np

from metastyle_jax.data import resizing
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import evaluation_inputs, judging, lpips
from metastyle_jax.evaluation.evaluation_inputs import Pictures
from metastyle_jax.evaluation.judging import Judge
from metastyle_jax.features import registry
from metastyle_jax.reporting.records import Records, Row
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import ranges
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.studies.adjustable import diversity_report, drawing_variations
from metastyle_jax.studies.adjustable.diversity_report import STYLE
from metastyle_jax.studies.adjustable.drawing_variations import Method
from metastyle_jax.stylization import loading, variations
from metastyle_jax.stylization.stylizer import Stylizer

_LOG = logging.getLogger(__name__)

SHOWN = 5  # variations of each method on the sheet
_LPIPS = "alexnet"
_RANGES = {
    "count": ranges.count(),
    "variations": ranges.Range(2, variations.MOST),
    "size": ranges.count(lpips.SMALLEST),
    "style_size": ranges.count(16),
    "deviations": ranges.Range(0, 10, above=True),
    "seed": ranges.count(0),
}


@dataclasses.dataclass(frozen=True)
class DiversityStudy:
    """Settings of the study.

    Attributes:
      model: the network: a workdir, or a parameter file; with sliders or without.
      style: the style image that it was trained with.
      contents: folder of photographs that it was not trained with.
      noisy: a network that was trained with `config.model.style_noise`; empty for none.
      count: contents, at most.
      variations: of each content.
      size: side of the contents, pixels.
      style_size: short side of the style image, pixels.
      deviations: standard deviations of the noise on the parameters of the style.
      seed: of all draws.
      features: feature network of the losses; empty for that of the training.
    """

    model: str = ""
    style: str = ""
    contents: str = ""
    noisy: str = ""
    count: int = 20
    variations: int = 8
    size: int = 192
    style_size: int = 256
    deviations: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    seed: int = 0
    features: str = ""


def run(study: DiversityStudy, out: Path) -> None:
    """Measure all methods; writes `diversity.md`, `.csv` and a sheet of pictures below `out`.

    Raises:
      UserError: a file or a network cannot be used; LPIPS is not installed.
    """
    _check(study)
    stylizers = [loading.load(name) for name in (study.model, study.noisy) if name]
    settings = stylizers[0].record.settings
    judge = judging.of_training(settings, study.features)
    weights = lpips.load(_LPIPS)
    style = resizing.resize_short_side(read_image(Path(study.style)), study.style_size)
    contents = evaluation_inputs.squares(study.contents, study.count, study.size)
    prepare_folder(out)
    described = {**dataclasses.asdict(study), "recipes": [each.recipe for each in stylizers]}
    described |= judging.units(judge)
    methods = _methods(study, stylizers)
    records = Records(out / "measurements.json", described, total=len(methods))
    rows = {
        method.name: records.measure(
            method.name, functools.partial(_measure, judge, weights, contents, style, method)
        )
        for method in methods
    }
    averaged = bool(settings.get("objective.average_decay"))
    diversity_report.write(
        out, diversity_report.summarize(methods, rows, judge.objective, averaged=averaged)
    )
    write_png(out / "diversity_sheet.png", _sheet(methods, contents.images[0]))
    _LOG.info(f"wrote {out / 'diversity.md'}")


def _check(study: DiversityStudy) -> None:
    for name in ("model", "style", "contents"):
        if not getattr(study, name):
            raise UserError(f"--{name} is missing: give it, see metastyle study diversity --help")
    ranges.check_flags(study, _RANGES)
    if not lpips.at_hand(_LPIPS):
        raise UserError(
            f"diversity is measured by LPIPS with {_LPIPS}, whose weights are not installed: run "
            f"{registry.VGG_EXTRA}"
        )


def _methods(study: DiversityStudy, stylizers: list[Stylizer]) -> list[Method]:
    """All methods, the plain drawing first; the second stylizer is the noisy one."""
    draws = (study.variations, study.seed)
    (plain, *noisy), *others = (
        drawing_variations.baseline(name, stylizer, study.deviations, *draws)
        for name, stylizer in zip(drawing_variations.BASELINES, stylizers, strict=False)
    )
    ours = drawing_variations.ours(stylizers[0], *draws)
    return [plain, *ours, *noisy, *itertools.chain(*others)]


def _measure(
    judge: Judge,
    weights: lpips.Weights,
    contents: Pictures,
    style: np.ndarray,
    method: Method,
) -> list[Row]:
    """A row for each content: diversity, and the mean losses of its variations."""
    rows = []
    for name, content in zip(contents.names, contents.images, strict=True):
        drawn = np.stack([stylizer.draw(content, options) for stylizer, options in method.drawings])
        diversity = lpips.mean_pairwise(weights, drawn) if len(drawn) > 1 else 0.0
        losses = judging.measure(judge, drawn, np.broadcast_to(content, drawn.shape), style)
        means = {key: float(values.mean()) for key, values in losses.items()}
        row = {"content": name, "diversity": diversity, "content loss": means["content"]}
        rows.append(
            row | {key: means[key] for key in map(STYLE.format, judge.objective.style_layers)}
        )
    return rows


def _sheet(methods: list[Method], content: np.ndarray) -> np.ndarray:
    """The first variations of each method in a row; in the first one the content, too."""
    rows = [
        [stylizer.draw(content, options) for stylizer, options in method.drawings[:SHOWN]]
        for method in methods
    ]
    rows[0].append(content)
    return contact_sheet(rows, row_titles=[method.name for method in methods], cell=len(content))
