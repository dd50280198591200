"""What an evaluation writes: a table, CSV, plots of the curves and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metastyle_jax.atomic import atomic_path
from metastyle_jax.data.images import write_png
from metastyle_jax.media.sheet import contact_sheet
from metastyle_jax.study import plots
from metastyle_jax.study.records import Row, markdown_table, write_csv

CELL = 192  # pixels
SCRATCH = "scratch"  # the method that others are measured in units of
SHARES = {"of scratch": "loss", "own of scratch": "own loss"}


def write(
    out: Path,
    rows: Sequence[Row],
    pictures: Mapping[tuple[str, str, int], np.ndarray],
    content: np.ndarray,
    styles: Mapping[str, np.ndarray],
    heading: str,
) -> None:
    """Write `evaluation.csv`, `curves.png`, `sheet.png` and `evaluation.md` below `out`.

    Args:
      out: folder.
      rows: of every style, method and step.
      pictures: the first content's, by style, method and step.
      content: that content.
      styles: by name.
      heading: a sentence on what was evaluated.
    """
    write_csv(out / "evaluation.csv", rows)
    means = over_styles(rows)
    plots.evaluation(out / "curves.png", means)
    columns = last_steps(rows)
    titles = [f"{method} {step}" if step else method for method, step in columns]
    sheet = [
        [content, style, *(pictures.get((name, *column)) for column in columns)]
        for name, style in styles.items()
    ]
    write_png(
        out / "sheet.png",
        contact_sheet(sheet, column_titles=("content", "style", *titles), cell=CELL),
    )
    table = markdown_table(means, {name: name for name in means[0]})
    text = (
        f"# Evaluation\n\n{heading}\n\n{table}\nMeans over styles (how many: `styles`) and "
        "contents; `of scratch`: the loss in units of that after the last step from scratch, over "
        "the styles that have one; `own loss`: under the features that the first initialisation "
        "was trained with, and `own of scratch`. LPIPS, SSIM and CFSD compare with the content; "
        "`lattice`: power at periods of 4 and 2 pixels over that around them, 1 or less without "
        "a lattice.\n\n"
        "![curves](curves.png)\n\n"
        "![sheet](sheet.png)\n"
    )
    with atomic_path(out / "evaluation.md") as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    print(f"wrote {out / 'evaluation.md'}")


def over_styles(rows: Sequence[Row]) -> list[Row]:
    """Means over styles of each method and step, methods in order of appearance.

    "of scratch" is the mean loss over that of the network trained from scratch after its last step,
    both over the styles that it was trained on; NaN where a method lacks one of these. "own of
    scratch" is the same of the own loss.
    """
    bound = _last_rows(rows, SCRATCH)
    numbers = [name for name in rows[0] if name not in ("style image", "method", "step")]
    methods = dict.fromkeys(row["method"] for row in rows)
    found = []
    for method in methods:
        for step in sorted({row["step"] for row in rows if row["method"] == method}):
            chosen = [row for row in rows if (row["method"], row["step"]) == (method, step)]
            means = {name: float(np.mean([row[name] for row in chosen])) for name in numbers}
            shares = {title: _share(chosen, bound, name) for title, name in SHARES.items()}
            named = {"method": method, "step": step, "styles": len(chosen)}
            found.append({**named, **shares, **means})
    return found


def _share(rows: Sequence[Row], bound: Sequence[Row], name: str) -> float:
    """Sum of `name` over that of `bound`, over the styles of `bound`; NaN if `rows` lacks one."""
    ours, theirs = ({row["style image"]: row[name] for row in each} for each in (rows, bound))
    if not theirs or not theirs.keys() <= ours.keys():
        return math.nan
    return sum(ours[style] for style in theirs) / sum(theirs.values())


def _last_rows(rows: Sequence[Row], method: str) -> list[Row]:
    """Those of a method after its last step."""
    chosen = [row for row in rows if row["method"] == method]
    last = max((row["step"] for row in chosen), default=0)
    return [row for row in chosen if row["step"] == last]


def last_steps(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """(method, its last step), without the copies, with the start of the first curve before all."""
    steps: dict[str, list[int]] = {}
    for row in rows:
        steps.setdefault(row["method"], []).append(row["step"])
    curves = {name: found for name, found in steps.items() if max(found)}
    first = next(iter(curves))
    return [(first, min(curves[first])), *((name, max(found)) for name, found in curves.items())]
