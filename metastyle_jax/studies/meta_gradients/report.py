"""Report of the study of meta-gradients: CSV files, plots and Markdown."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax.reporting import plots
from metastyle_jax.reporting.records import Row, markdown_table, write_csv
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage.atomic import write_text

_LOG = logging.getLogger(__name__)

Tables = Mapping[str, Sequence[Row]]


def write(out: Path, tables: Tables, config: Settings, study: Any) -> None:
    """Write `NAME.csv` of each table, its plot, and `study.md`, which has them all."""
    draw = {
        "gradients": plots.gradients,
        "rates": plots.rates,
        "training": plots.training,
        "adaptation": plots.adaptation,
    }
    sections = [heading(config, study)]
    for name, rows in tables.items():
        write_csv(out / f"{name}.csv", rows)
        sections.append(SECTIONS[name](rows))
        if name in draw:
            draw[name](out / f"{name}.png", rows)
            sections.append(f"![{name}]({name}.png)\n")
    write_text(out / "study.md", "\n".join(sections))
    _LOG.info(f"wrote {out / 'study.md'}")


def heading(config: Settings, study: Any) -> str:
    """The machine, and what was measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device, network = jax.devices()[0], config.features.network.partition(":")[0]
    return (
        "# Meta-gradients compared\n\n"
        f"{device.device_kind} ({device.platform}), {cores} cores of {platform.machine()}, jax "
        f"{jax.__version__}. {config.data.image_size} px, {config.batch.styles} styles x "
        f"{config.batch.contents} contents, {network}, inner rate "
        f"{config.inner.learning_rate:g}, clip {config.inner.clip:g}. Gradients and curvature at "
        f"`{study.init}`. All settings: `measurements.json`.\n"
    )


def gradients_section(rows: Sequence[Row]) -> str:
    columns = {
        "steps": "T",
        "estimator": "estimator",
        "milliseconds": "ms",
        "compile_seconds": "compile s",
        "temporary_megabytes": "temporary MB",
        "cosine": "cosine",
        "cosine_weights": "of weights",
        "cosine_style": "of style",
        "norm_ratio": "norm ratio",
        "cosine_of_means": "cosine of means",
        "outer_loss": "outer loss",
    }
    return "## Gradients\n\nCosine and norm ratio to `exact`.\n\n" + markdown_table(rows, columns)


def curvature_section(rows: Sequence[Row]) -> str:
    columns = {
        "style": "style",
        "gradient_norm": "gradient",
        "smallest": "smallest eigenvalue",
        "largest": "largest",
        "bound": "2 / largest",
        "products": "products",
    }
    return "## Inner Hessian\n\n" + markdown_table(rows, columns)


def rates_section(rows: Sequence[Row]) -> str:
    """Medians over styles; rates differ from style to style, so they are numbered."""
    keys = ("rate", "of_bound", "loss_ratio", "cosine", "cosine_weights", "cosine_style")
    keys += ("norm_ratio",)
    by_style: dict[Any, list[Row]] = {}
    for row in rows:
        by_style.setdefault(row["style"], []).append(row)
    medians = [
        {key: float(np.median([row[key] for row in same])) for key in keys}
        for same in zip(*by_style.values(), strict=True)
    ]
    columns = {
        "rate": "inner rate",
        "of_bound": "of the bound",
        "loss_ratio": "loss after / before",
        "cosine": "cosine",
        "cosine_weights": "of weights",
        "cosine_style": "of style",
        "norm_ratio": "norm ratio",
    }
    text = "## Inner rate\n\nOne step of plain gradient descent, first order against exact, medians"
    return f"{text} over {len(by_style)} styles.\n\n" + markdown_table(medians, columns)


def training_section(rows: Sequence[Row]) -> str:
    """Means over the quarters of the training."""
    last = max(row["step"] for row in rows)
    lines = []
    for name in dict.fromkeys(row["estimator"] for row in rows):
        line: Row = {"estimator": name}
        for quarter in range(4):
            losses = [
                row["outer_loss"]
                for row in rows
                if row["estimator"] == name and quarter < 4 * row["step"] / last <= quarter + 1
            ]
            line[f"quarter {quarter}"] = float(np.mean(losses)) if losses else ""
        lines.append(line)
    columns = {"estimator": "estimator"}
    for quarter in range(4):
        begin, end = last * quarter // 4 + 1, last * (quarter + 1) // 4
        columns[f"quarter {quarter}"] = f"steps {begin} to {end}"
    text = "## Outer loss along training\n\nMeans; every estimator saw the same batches.\n\n"
    return text + markdown_table(lines, columns)


def adaptation_section(rows: Sequence[Row]) -> str:
    """Means over styles."""
    steps = sorted({row["step"] for row in rows})
    lines = []
    for name in dict.fromkeys(row["estimator"] for row in rows):
        chosen = [row for row in rows if row["estimator"] == name]
        means = {
            str(step): float(np.mean([row["loss"] for row in chosen if row["step"] == step]))
            for step in steps
        }
        lines.append({"start": name, **means})
    columns = {"start": "trained with", **{str(step): str(step) for step in steps}}
    text = "## Loss after adaptation steps\n\nAdam on the style's parameters, mean over styles.\n\n"
    return text + markdown_table(lines, columns)


SECTIONS = {
    "gradients": gradients_section,
    "curvature": curvature_section,
    "rates": rates_section,
    "training": training_section,
    "adaptation": adaptation_section,
}
