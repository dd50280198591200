"""Report of the study of style losses: sheets, CSV files and Markdown."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.reporting.records import Row, markdown_table, write_csv
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.storage.atomic import write_text
from metastyle_jax.studies.style_losses.study_pictures import PictureSetup

_LOG = logging.getLogger(__name__)


def write(
    study: Any,
    setup: PictureSetup,
    out: Path,
    figures: Mapping[str, list[Row]],
    tables: Mapping[str, list[Row]],
) -> None:
    """Write `NAME.png` and `NAME.csv` of each figure, `NAME.csv` of each table, and `study.md`.

    Args:
      study: a `style_losses.LossStudy`.
      setup: inputs of the pictures.
      out: folder.
      figures: rows by name of the figure.
      tables: rows of "balance" and "cross_loss", if there was a gallery.
    """

    def pictures(name: str, per_row: int) -> list[list[np.ndarray]]:
        images = [read_image(setup.folder / f"{row['name']}.png") for row in figures[name]]
        return [images[i : i + per_row] for i in range(0, len(images), per_row)]

    def sheet(name: str, rows: Any, columns: Sequence[str], titles: Sequence[str]) -> None:
        picture = contact_sheet(rows, column_titles=columns, row_titles=titles, cell=study.size)
        write_png(out / f"{name}.png", picture)

    methods = study.methods
    if "reconstructions" in figures:
        subsets = [study.layers[0], *(f"... {layer}" for layer in study.layers[1:])]
        sheet("reconstructions", pictures("reconstructions", len(subsets)), subsets, methods)
    if "gammas" in figures:
        gammas = [f"gamma {gamma:g}" for gamma in study.gammas]
        sheet("gammas", pictures("gammas", len(gammas)), gammas, methods)
    if "gallery" in figures:
        by_method = pictures("gallery", len(study.contents))
        gallery = [list(row) for row in zip(setup.contents, setup.styles, *by_method, strict=True)]
        sheet("gallery", gallery, ("content", "style", *methods), ())
    if "fusions" in figures:
        fused = list(dict.fromkeys(row["fusion"] for row in figures["fusions"]))
        shares = [f"{share:g} : {1 - share:g}" for share in study.shares]
        sheet("fusions", pictures("fusions", len(shares)), shares, fused)
    for name, rows in (*figures.items(), *tables.items()):
        write_csv(out / f"{name}.csv", rows)
    write_text(out / "study.md", _report(study, figures, tables))
    _LOG.info(f"wrote {out / 'study.md'}")


def by_pair(factors: Mapping[str, Sequence[float]]) -> list[Row]:
    """A row for each method with a column for each pair."""
    return [
        {"method": method, **{f"pair {n}": x for n, x in enumerate(values)}}
        for method, values in factors.items()
    ]


def _report(study: Any, figures: Mapping[str, list[Row]], tables: Mapping[str, list[Row]]) -> str:
    features = study.features.partition(":")[0]
    parts = [
        "# Style losses compared",
        f"{study.size} px, {study.steps} steps of Adam on the pixels, {features} ({study.pooling} "
        "pooling). All settings: `measurements.json`.",
    ]
    for name in figures:
        parts += [f"## {TITLES[name].format(gamma=study.gamma)}", f"![{name}]({name}.png)"]
    for name, rows in tables.items():
        table = markdown_table(rows, {key: key for key in rows[0]})
        parts += [TABLES[name], table.rstrip()]
    return "\n\n".join(parts) + "\n"


TITLES = {
    "reconstructions": "The style alone, from noise (rows: losses, columns: one more layer each)",
    "gammas": "Balance of style and content",
    "gallery": "Gallery, gamma {gamma:g}",
    "fusions": "Fusions",
}

TABLES = {
    "balance": """## Style weight at gamma 1

Where the gradients of content and style have one norm, at the content half hidden in noise.""",
    "cross_loss": """## Cross-loss

Style loss over that of the content unchanged, mean over the gallery. Rows: what the pictures were
optimized for; columns: the judge.""",
}
