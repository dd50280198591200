"""Line charts as SVG text, for pages that load nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 420, 240  # pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 28, 28  # margins
# told apart by people who see few colors (Okabe & Ito 2008)
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_TICKS = 4


def line_chart(
    title: str, x: Sequence[float], series: Mapping[str, ArrayLike], *, logarithmic: bool
) -> str:
    """A `<figure>` with one line for each series, and their names below; "" with nothing to draw.

    Args:
      title: shown above, and read aloud.
      x: (N,) in rising order.
      series: name -> (N,) values; what is not finite, or not above 0 on a logarithmic axis, leaves
        a gap.
      logarithmic: the y axis.
    """
    across, up = np.asarray(x, float), {k: np.asarray(v, float) for k, v in series.items()}
    if logarithmic:
        up = {name: np.where(values > 0, values, np.nan) for name, values in up.items()}
    shown = np.concatenate([values[np.isfinite(values)] for values in up.values()] or [[]])
    if not shown.size:
        return ""
    scale = np.log10 if logarithmic else np.asarray
    low, high = float(scale(shown.min())), float(scale(shown.max()))
    if low == high:
        low, high = low - 0.5, high + 0.5
    first, last = float(across[0]), float(across[-1])

    def place(step: float, value: float) -> tuple[float, float]:
        right = (step - first) / ((last - first) or 1)
        top = 1 - (float(scale(value)) - low) / (high - low)
        return (
            _LEFT + right * (WIDTH - _LEFT - _RIGHT),
            _TOP + top * (HEIGHT - _TOP - _BOTTOM),
        )

    parts = [_frame(title)]
    for tick in np.linspace(low, high, _TICKS):
        value = float(10**tick if logarithmic else tick)
        y = place(first, value)[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:.3g}", "end"))
    for step, anchor in ((first, "start"), (last, "end")):
        parts.append(_text(place(step, shown[0])[0], HEIGHT - 8, f"{step:g}", anchor))
    names = []
    for number, (name, values) in enumerate(up.items()):
        color = COLORS[number % len(COLORS)]
        parts.append(_line([place(*point) for point in zip(across, values, strict=True)], color))
        names.append(f'<span style="color:{color}">&#9632; {html.escape(name)}</span>')
    return (
        f'<figure class="chart">{"".join(parts)}</svg><figcaption>{" ".join(names)}</figcaption>'
        "</figure>"
    )


def _frame(title: str) -> str:
    label = html.escape(title, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'<text class="title" x="{_LEFT}" y="16">{label}</text>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _line(points: Sequence[tuple[float, float]], color: str) -> str:
    """One path; a point without a place lifts the pen."""
    commands, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            commands.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return f'<path class="line" stroke="{color}" d="{"".join(commands)}"/>'
