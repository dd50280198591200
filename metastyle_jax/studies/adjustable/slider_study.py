"""Sliders measured: does a larger weight of a layer lower the loss of that layer?

Figure 7 of Babaeizadeh & Ghiasi 2020: the weight of each style layer rises from 0 to 1, with those
of the others at 0 and at 1; the median over contents of the layer's measured loss should fall.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from metastyle_jax.data import resizing
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import evaluation_inputs, judging
from metastyle_jax.evaluation.judging import Judge
from metastyle_jax.reporting import plots
from metastyle_jax.reporting.records import Records, Row, markdown_table, write_csv
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import ranges
from metastyle_jax.storage.atomic import prepare_folder, write_text
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.stylizer import Stylizer

_LOG = logging.getLogger(__name__)

OTHERS = (0.0, 1.0)  # weights of the layers that do not move
SHOWN = 5  # weights of each sweep on the sheet
_RANGES = {
    "count": ranges.count(),
    "size": ranges.count(16),
    "style_size": ranges.count(16),
    "weights": ranges.count(2),
}


@dataclasses.dataclass(frozen=True)
class SliderStudy:
    """Settings of the study.

    Attributes:
      model: an adjustable network: a workdir, or a parameter file.
      style: the style image that it was trained with.
      contents: folder of photographs that it was not trained with.
      count: contents, at most.
      size: side of the contents, pixels.
      style_size: short side of the style image, pixels.
      weights: values of the weight that moves, from 0 to 1.
      features: feature network that measures; empty for that of the training.
    """

    model: str = ""
    style: str = ""
    contents: str = ""
    count: int = 100
    size: int = 192
    style_size: int = 256
    weights: int = 11
    features: str = ""


def run(study: SliderStudy, out: Path) -> None:
    """Measure all sweeps; writes `sliders.md`, `.csv`, `.png` and a sheet below `out`.

    Raises:
      UserError: a file or a network cannot be used; the network has no sliders.
    """
    for name in ("model", "style", "contents"):
        if not getattr(study, name):
            raise UserError(f"--{name} is missing: give it, see metastyle study sliders --help")
    ranges.check_flags(study, _RANGES)
    plots.require_matplotlib()
    stylizer = loading.load(study.model)
    if stylizer.sliders is None:
        raise UserError(f"{study.model} has no sliders: train it with config.model.adjuster")
    judge = judging.of_training(stylizer.record.settings, study.features)
    style = resizing.resize_short_side(read_image(Path(study.style)), study.style_size)
    contents = evaluation_inputs.squares(study.contents, study.count, study.size).images
    prepare_folder(out)
    described = {**dataclasses.asdict(study), "recipe": stylizer.recipe, **judging.units(judge)}
    layers = stylizer.sliders.layers
    records = Records(out / "measurements.json", described, total=len(layers) * len(OTHERS))
    sweeps = {
        (layer, others): records.measure(
            f"{layer}, others {others:g}",
            functools.partial(
                sweep, study.weights, stylizer, judge, contents, style, (layer, others)
            ),
        )
        for layer in layers
        for others in OTHERS
    }
    _report(out, study, sweeps)
    write_png(out / "sliders_sheet.png", _sheet(stylizer, contents[0], study.size))
    _LOG.info(f"wrote {out / 'sliders.md'}")


def sweep(
    count: int,
    stylizer: Stylizer,
    judge: Judge,
    contents: np.ndarray,
    style: np.ndarray,
    moved: tuple[str, float],
) -> list[Row]:
    """A row for each of `count` weights, with the layer's loss of each content, unweighted."""
    layer, others = moved
    assert stylizer.sliders is not None
    rows = []
    for weight in np.linspace(0, 1, count):
        alpha = dict.fromkeys(stylizer.sliders.layers, others) | {layer: float(weight)}
        # in one piece: for small pictures several times as fast as tiles
        drawn = np.asarray(stylizer.at(alpha)(jnp.asarray(contents)))
        losses = judging.measure(judge, drawn, contents, style)[f"style {layer}"]
        rows.append({"weight": float(weight), "losses": [float(loss) for loss in losses]})
    return rows


def spearman(values: np.ndarray, others: np.ndarray) -> float:
    """Spearman's rank correlation of two series (N,): -1 if one falls as the other rises.

    Equal values share the mean of their ranks; 0 if all values of a series are equal.
    """
    ranks = [_ranks(series) for series in (values, others)]
    if any(series.std() == 0 for series in ranks):
        return 0.0
    return float(np.corrcoef(np.stack(ranks))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return below + (equal - 1) / 2


def summary(rows: list[Row]) -> Row:
    """What a sweep says, of the rows of `sweep`.

    Returns:
      "spearman" of the weights and the median losses; "falling", the share of contents whose loss
      is lower at 1 than at 0; "at 0", "at 1", the median losses; "ratio", the latter over the
      former.
    """
    weights = np.array([row["weight"] for row in rows])
    losses = np.array([row["losses"] for row in rows])
    medians = np.median(losses, axis=1)
    return {
        "spearman": spearman(weights, medians),
        "falling": float((losses[-1] < losses[0]).mean()),
        "at 0": float(medians[0]),
        "at 1": float(medians[-1]),
        "ratio": float(medians[-1] / medians[0]) if medians[0] else float("nan"),
    }


def _report(out: Path, study: SliderStudy, sweeps: dict[tuple[str, float], list[Row]]) -> None:
    points = [
        {
            "layer": layer,
            "others": others,
            "weight": row["weight"],
            "loss": float(np.median(row["losses"])),
        }
        for (layer, others), rows in sweeps.items()
        for row in rows
    ]
    write_csv(out / "sliders.csv", points)
    plots.sliders(out / "sliders.png", points)
    table: list[Row] = [
        {"layer": layer, "others": f"{others:g}", **summary(rows)}
        for (layer, others), rows in sweeps.items()
    ]
    columns = {
        "layer": "layer whose weight rises",
        "others": "other weights",
        "spearman": "Spearman",
        "falling": "share of contents whose loss falls",
        "at 0": "median loss at 0",
        "at 1": "median loss at 1",
        "ratio": "ratio",
    }
    count = len(next(iter(sweeps.values()))[0]["losses"])
    text = (
        f"# Weights of layers as sliders\n\nMedian of the layer's style loss over {count} contents "
        f"at {study.size} px, as its weight rises from 0 to 1 in {study.weights} steps. Spearman "
        "of weight and median: -1 if every larger weight lowers the loss.\n\n"
        f"{markdown_table(table, columns)}\n![losses](sliders.png)\n\n"
        "![pictures: one sweep a row](sliders_sheet.png)\n"
    )
    write_text(out / "sliders.md", text)


def _sheet(stylizer: Stylizer, content: np.ndarray, size: int) -> np.ndarray:
    """A sweep in each row: layers, with the other weights at 0 and at 1."""
    assert stylizer.sliders is not None
    layers, weights = stylizer.sliders.layers, np.linspace(0, 1, SHOWN)
    cases = [(layer, others) for layer in layers for others in OTHERS]
    rows = [
        [
            stylizer.at(dict.fromkeys(layers, others) | {layer: float(weight)}).draw(content)
            for weight in weights
        ]
        for layer, others in cases
    ]
    return contact_sheet(
        rows,
        column_titles=[f"{weight:g}" for weight in weights],
        row_titles=[f"{layer}, others {others:g}" for layer, others in cases],
        cell=size,
    )
