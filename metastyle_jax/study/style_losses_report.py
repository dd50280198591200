"""What the study of style losses writes: sheets, CSV files and a Markdown report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.atomic import atomic_path
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.media.sheet import contact_sheet
from metastyle_jax.study.painting import Easel
from metastyle_jax.study.records import Row, markdown_table, write_csv


def write(
    study: Any,
    easel: Easel,
    out: Path,
    figures: Mapping[str, list[Row]],
    balances: list[Row],
    judged: list[Row],
) -> None:
    """Write `NAME.png` and `NAME.csv` of each figure, CSV files of both tables, and `study.md`."""

    def pictures(name: str, per_row: int) -> list[list[np.ndarray]]:
        found = [read_image(easel.folder / f"{row['name']}.png") for row in figures[name]]
        return [found[i : i + per_row] for i in range(0, len(found), per_row)]

    def sheet(name: str, rows: Any, columns: Sequence[str], titles: Sequence[str]) -> None:
        picture = contact_sheet(rows, column_titles=columns, row_titles=titles, cell=study.size)
        write_png(out / f"{name}.png", picture)

    methods = study.methods
    subsets = [study.layers[0], *(f"... {layer}" for layer in study.layers[1:])]
    sheet("reconstructions", pictures("reconstructions", len(subsets)), subsets, methods)
    gammas = [f"gamma {gamma:g}" for gamma in study.gammas]
    sheet("gammas", pictures("gammas", len(gammas)), gammas, methods)
    by_method = pictures("gallery", len(study.contents))
    gallery = [list(row) for row in zip(easel.contents, easel.styles, *by_method, strict=True)]
    sheet("gallery", gallery, ("content", "style", *methods), ())
    fused = list(dict.fromkeys(row["fusion"] for row in figures["fusions"]))
    shares = [f"{share:g} : {1 - share:g}" for share in study.shares]
    sheet("fusions", pictures("fusions", len(shares)), shares, fused)

    factors = [
        {"method": row["method"], **{f"pair {n}": x for n, x in enumerate(row["factors"])}}
        for row in balances
    ]
    for name, rows in figures.items():
        write_csv(out / f"{name}.csv", rows)
    write_csv(out / "balance.csv", factors)
    write_csv(out / "cross_loss.csv", judged)
    text = REPORT.format(
        size=study.size,
        steps=study.steps,
        features=study.features.partition(":")[0],
        gamma=study.gamma,
        balance=markdown_table(factors, {key: key for key in factors[0]}),
        judged=markdown_table(judged, {key: key for key in judged[0]}),
    )
    with atomic_path(out / "study.md") as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    print(f"wrote {out / 'study.md'}")


REPORT = """# Style losses compared

{size} px, {steps} steps of Adam on the pixels, {features}. All settings: `measurements.json`.

## The style alone, from noise

Rows: losses; columns: layers, one more in each.

![reconstructions](reconstructions.png)

## Balance of style and content

![gammas](gammas.png)

## Gallery, gamma {gamma:g}

![gallery](gallery.png)

## Fusions

![fusions](fusions.png)

## Style weight at gamma 1

Where the gradients of content and style have one norm, at the content half hidden in noise.

{balance}
## Cross-loss

Style loss over that of the content unchanged, mean over the gallery. Rows: what the pictures were
optimised for; columns: the judge.

{judged}"""
