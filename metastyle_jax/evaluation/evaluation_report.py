"""Report of an evaluation: tables, CSV files, plots of the curves and a contact sheet."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from metastyle_jax.data.images import write_png
from metastyle_jax.evaluation.evaluation_inputs import EvaluationInputs
from metastyle_jax.reporting import plots
from metastyle_jax.reporting.records import Row, markdown_table, write_csv
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.storage.atomic import write_text

_LOG = logging.getLogger(__name__)

CELL = 192  # pixels
SCRATCH = "scratch"  # the unit of the columns "of scratch"
SHARES = {"of scratch": "loss", "own of scratch": "own loss"}
KEYS = ("style image", "content image", "method", "step")

EXPLANATION = (
    "Means over pairs. Errors are relative to their targets: `style LAYER` is the squared error of "
    "the Gram matrices divided by their squared norm, `content` the same for the features. `style` "
    "and `loss` include the weights of the judge. `of scratch`: the loss divided by that of the "
    "network trained from scratch after its last step, over the styles that have one. `own loss`: "
    "the loss under the features that the first initialization was trained with; `own of scratch` "
    "likewise. LPIPS and SSIM compare with the content. `lattice`: power at periods of 4 and 2 "
    "pixels (checkerboard artifacts) divided by the power around them; 1 or less without artifacts."
)


def write(
    inputs: EvaluationInputs,
    rows: Sequence[Row],
    picture_of: Callable[[Row], np.ndarray],
    heading: str,
) -> None:
    """Write `evaluation.csv`, `curves.png`, `sheet.png` and `evaluation.md`.

    Args:
      inputs: of the evaluation.
      rows: one for each style, content, method and step.
      picture_of: returns the picture of a row.
      heading: one sentence on what was evaluated.
    """
    out = inputs.out
    write_csv(out / "evaluation.csv", rows)
    means = over_pairs(rows)
    plots.evaluation(out / "curves.png", means)
    _write_sheet(inputs, rows, picture_of)
    table = markdown_table(means, {name: name for name in means[0]})
    text = (
        f"# Evaluation\n\n{heading}\n\n{table}\n{EXPLANATION}\n\n"
        "![curves](curves.png)\n\n![sheet](sheet.png)\n"
    )
    write_text(out / "evaluation.md", text)
    _LOG.info(f"wrote {out / 'evaluation.md'}")


def _write_sheet(
    inputs: EvaluationInputs, rows: Sequence[Row], picture_of: Callable[[Row], np.ndarray]
) -> None:
    """Draw the first content in every style, by every method."""
    content, columns = inputs.contents.names[0], last_steps(rows)
    shown = {
        (row["style image"], row["method"], row["step"]): row
        for row in rows
        if row["content image"] == content
    }
    sheet = []
    for name, style in zip(inputs.styles.names, inputs.styles.images, strict=True):
        shown_rows = [shown.get((name, *column)) for column in columns]
        pictures = [None if row is None else picture_of(row) for row in shown_rows]
        sheet.append([inputs.contents.images[0], style, *pictures])
    titles = [f"{method} {step}" if step else method for method, step in columns]
    image = contact_sheet(sheet, column_titles=("content", "style", *titles), cell=CELL)
    write_png(inputs.out / "sheet.png", image)


def write_wins(out: Path, rows: Sequence[Row], compared: Sequence[str]) -> None:
    """Write `wins.md`: on how many pairs each initialization beats each compared method.

    Args:
      out: folder.
      rows: of the initializations and of the compared methods.
      compared: names of the compared methods; if empty, nothing is written.
    """
    if not compared:
        return
    last = of_last_steps(rows)
    others = {name: _rows_of_pairs(last, name) for name in compared}
    names = dict.fromkeys(row["method"] for row in last if row["method"] not in others)
    table = [
        {"method": f"{name} against {other}", **wins(_rows_of_pairs(last, name), others[other])}
        for name in names
        for other in compared
    ]
    text = (
        "# Pair by pair\n\nShare of the pairs on which the first method has the lower error, after "
        f"its last step.\n\n{markdown_table(table, {name: name for name in table[0]})}"
    )
    write_text(out / "wins.md", text)


def wins(ours: dict[tuple[str, str], Row], theirs: dict[tuple[str, str], Row]) -> Row:
    """Shares in [0, 1] of the pairs of `theirs` on which `ours` is lower.

    An equal content error counts as lower.
    """
    style = [ours[pair]["style"] < row["style"] for pair, row in theirs.items()]
    content = [ours[pair]["content"] <= row["content"] for pair, row in theirs.items()]
    both = np.logical_and(style, content)
    return {
        "pairs": len(style),
        "style": float(np.mean(style)),
        "content": float(np.mean(content)),
        "both": float(both.mean()),
    }


def _rows_of_pairs(rows: Sequence[Row], method: str) -> dict[tuple[str, str], Row]:
    return {
        (row["style image"], row["content image"]): row for row in rows if row["method"] == method
    }


def over_pairs(rows: Sequence[Row]) -> list[Row]:
    """Means over styles and contents for each method and step, methods in order of appearance.

    "of scratch" divides the mean loss by that of the network trained from scratch after its last
    step. Both means are over the styles that this network was trained on. It is NaN for a method
    that lacks one of these styles. "own of scratch" does the same with "own loss".
    """
    bound = [row for row in of_last_steps(rows) if row["method"] == SCRATCH]
    numbers = [name for name in rows[0] if name not in KEYS]
    methods = dict.fromkeys(row["method"] for row in rows)
    table = []
    for method in methods:
        for step in sorted({row["step"] for row in rows if row["method"] == method}):
            chosen = [row for row in rows if (row["method"], row["step"]) == (method, step)]
            means = {name: float(np.mean([row[name] for row in chosen])) for name in numbers}
            shares = {title: _share(chosen, bound, name) for title, name in SHARES.items()}
            styles = len({row["style image"] for row in chosen})
            named = {"method": method, "step": step, "styles": styles}
            table.append({**named, **shares, **means})
    return table


def _share(rows: Sequence[Row], bound: Sequence[Row], name: str) -> float:
    """Sum of the means of `name` over the styles of `bound`, divided by the same sum for `bound`.

    NaN if `rows` lacks one of these styles.
    """
    ours, theirs = (_over_contents(each, name) for each in (rows, bound))
    if not theirs or not theirs.keys() <= ours.keys():
        return math.nan
    return sum(ours[style] for style in theirs) / sum(theirs.values())


def _over_contents(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Mean of `name` for each style."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["style image"], []).append(row[name])
    return {style: float(np.mean(each)) for style, each in values.items()}


def of_last_steps(rows: Sequence[Row]) -> list[Row]:
    """Rows of each method after its last step."""
    last: dict[str, int] = {}
    for row in rows:
        last[row["method"]] = max(row["step"], last.get(row["method"], 0))
    return [row for row in rows if row["step"] == last[row["method"]]]


def last_steps(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """(method, its last step) for each method, preceded by the start of the first curve.

    Controls, which are the methods before the first one with steps, are left out.
    """
    steps: dict[str, list[int]] = {}
    for row in rows:
        steps.setdefault(row["method"], []).append(row["step"])
    names = list(steps)
    first = next(name for name in names if max(steps[name]))
    shown = names[names.index(first) :]
    return [(first, min(steps[first])), *((name, max(steps[name])) for name in shown)]
