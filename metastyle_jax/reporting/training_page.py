"""A training run as one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metastyle_jax.reporting.line_charts import line_chart

SMOOTHING = 9  # records in a running mean
SHEETS = 4  # shown: the first, the last, and some between
_SHEET_SIDE = 1200  # pixels, the longest a sheet is shown with
_QUALITY = 85  # of its JPEG
VALIDATION = "adaptation_loss_"  # metrics of validation, with the number of steps
# title -> (beginning of the names of its metrics, whether the axis is logarithmic)
_CHARTS = {
    "Loss on the query contents, after the inner loop": ("outer_", False),
    "Loss on the support contents, before each inner step": ("inner_loss", False),
    "Norms of the meta-gradient": ("gradient_norm", True),
    "Norm of the inner gradient": ("inner_gradient", True),
    "Loss of validation styles, after so many adaptation steps": (VALIDATION, False),
    "Steps per second": ("steps_per_second", False),
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
.charts{display:flex;flex-wrap:wrap;gap:1rem}.chart{width:420px;max-width:100%;margin:0}
.chart figcaption{font-size:.8rem;padding-left:3.5rem}svg{width:100%}
svg text{font:11px system-ui,sans-serif;fill:#444}
svg .title{font-weight:600;font-size:12px;fill:#1a1a1a}
.grid{stroke:#ddd}.line{fill:none;stroke-width:1.5}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;
vertical-align:top;border-bottom:1px solid #eee}code{font-size:.9em;overflow-wrap:anywhere}
figure{margin:1rem 0}img{max-width:100%}figcaption{color:#555}
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
      name: of its folder.
      records: of `metrics.jsonl`, in the order of their steps: "step", metrics, and perhaps
        "warnings".
      settings: all of them by dotted name.
      defaults: likewise, to show first what differs.
      sheets: step -> PNG file.
      environment: name -> text, such as versions.
    """

    name: str
    records: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]
    sheets: Mapping[int, Path]
    environment: Mapping[str, str]


def page(run: Run) -> str:
    """The page; it needs no other file."""
    title = html.escape(run.name)
    changed = {k: v for k, v in run.settings.items() if v != run.defaults.get(k)}
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        _table(_summary(run)),
        '<h2>Curves</h2><div class="charts">',
        *_charts(run.records),
        "</div>",
        *_warnings(run.records),
        *_sheets(run.sheets),
        "<h2>Settings that are not the default</h2>",
        _table(changed),
        "<details><summary>All settings</summary>",
        _table(run.settings),
        "</details><h2>Environment</h2>",
        _table(run.environment),
        "</body></html>\n",
    ]
    return "".join(parts)


def _summary(run: Run) -> dict[str, Any]:
    last = run.records[-1]
    recent = run.records[-SMOOTHING:]
    rates = [r["steps_per_second"] for r in run.records if "steps_per_second" in r]
    rows = {"steps": f"{last['step']} of {run.settings.get('outer.steps', '?')}"}
    for name in ("outer_loss", "outer_content", "outer_style"):
        values = [record[name] for record in recent if name in record]
        if values:
            rows[f"{name}, mean of the last {len(values)} records"] = f"{np.mean(values):.4g}"
    if rates:
        median = float(np.median(rates))
        rows["steps per second, median"] = f"{median:.3g}"
        rows["hours at that rate"] = f"{last['step'] / median / 3600:.2f}"
    return rows


def _charts(records: Sequence[Mapping[str, Any]]) -> list[str]:
    charts = []
    for title, (beginning, logarithmic) in _CHARTS.items():
        names = dict.fromkeys(
            name for record in records for name in record if name.startswith(beginning)
        )
        # validations are rare, and have records of their own
        drawn = [record for record in records if any(name in record for name in names)]
        smooth = np.asarray if beginning == VALIDATION else _smoothed
        series = {
            name.removeprefix("gradient_norm_").removeprefix(VALIDATION): smooth(
                [record.get(name, np.nan) for record in drawn]
            )
            for name in names
        }
        steps = [record["step"] for record in drawn]
        charts.append(line_chart(title, steps, series, logarithmic=logarithmic))
    return charts


def _smoothed(values: Sequence[float]) -> np.ndarray:
    """A running mean that ignores what is missing; one record is too noisy to read."""
    known = np.isfinite(values)
    window = np.ones(min(SMOOTHING, len(values)))
    sums = np.convolve(np.where(known, values, 0.0), window, "same")
    counts = np.convolve(known.astype(float), window, "same")
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"<li>step {record['step']}: {html.escape(str(text))}</li>"
        for record in records
        for text in record.get("warnings", [])
    ]
    return ["<h2>Warnings</h2><ul>", *rows, "</ul>"] if rows else []


def _sheets(sheets: Mapping[int, Path]) -> list[str]:
    steps = sorted(sheets)
    chosen = sorted(
        {steps[round(i)] for i in np.linspace(0, len(steps) - 1, SHEETS)} if steps else ()
    )
    figures = [
        f'<figure><img alt="sheet of step {step}" src="{url}">'
        f"<figcaption>step {step}</figcaption></figure>"
        for step in chosen
        if (url := _data_url(sheets[step]))
    ]
    return ["<h2>Sheets</h2>", *figures] if figures else []


def _data_url(path: Path) -> str:
    """The picture within the page; "" if the file is damaged."""
    try:
        with Image.open(path) as picture:
            shown = picture.convert("RGB")
    except OSError:
        return ""
    shown.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _table(rows: Mapping[str, Any]) -> str:
    lines = [
        f"<tr><th>{html.escape(str(name))}</th><td><code>{html.escape(str(value))}</code></td></tr>"
        for name, value in rows.items()
    ]
    return f"<table>{''.join(lines)}</table>"
