"""Plots of the studies, PNG, by matplotlib (an extra: `pip install 'metastyle_jax[study]'`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.reporting.records import Row
from metastyle_jax.storage.atomic import atomic_path

WIDTH, HEIGHT = 4.8, 3.4  # of one panel, inches
SMOOTHING = 9  # recorded steps in the running mean of a training curve


def require_matplotlib() -> None:
    """Check for matplotlib before a long measurement.

    Raises:
      UserError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "a study draws its plots with matplotlib, which is not installed: "
            "pip install 'metastyle_jax[study]' (or pip install matplotlib)"
        ) from None


def gradients(path: Path, rows: Sequence[Row]) -> None:
    """Cosine to the exact gradient, and milliseconds, of each estimator; a bar for each T."""
    counts = sorted({row["steps"] for row in rows})

    def bars(key: str) -> Callable:
        names = list(dict.fromkeys(row["estimator"] for row in rows if key in row))

        def draw(axes: Any) -> None:
            for index, steps in enumerate(counts):
                chosen = {row["estimator"]: row.get(key) for row in rows if row["steps"] == steps}
                heights = [chosen.get(name) or np.nan for name in names]
                places = np.arange(len(names)) + (index - (len(counts) - 1) / 2) * 0.8 / len(counts)
                axes.barh(places, heights, 0.8 / len(counts), label=f"T = {steps}")
            axes.set_yticks(range(len(names)), names)
            axes.invert_yaxis()
            axes.legend(loc="lower left", framealpha=1)

        return draw

    _figure(
        path,
        [
            ("cosine to the exact gradient", bars("cosine")),
            ("milliseconds of a gradient", bars("milliseconds")),
        ],
        scales=("linear", "linear"),
        x_labels=("", ""),
    )


def rates(path: Path, rows: Sequence[Row]) -> None:
    """Against the inner rate: loss after one step, and the first-order gradient's bias."""
    styles = sorted({row["style"] for row in rows})

    def lines(key: str) -> Callable:
        def draw(axes: Any) -> None:
            for style in styles:
                chosen = [row for row in rows if row["style"] == style]
                of_bound = [row["of_bound"] for row in chosen]
                axes.plot(of_bound, [row[key] for row in chosen], label=f"style {style}")
            axes.legend(fontsize="small")

        return draw

    panels = [
        ("query loss after one step / before", lines("loss_ratio")),
        ("cosine, first-order to exact gradient", lines("cosine")),
        ("|first-order| / |exact| gradient", lines("norm_ratio")),
    ]
    label = "inner rate / (2 / largest eigenvalue)"
    _figure(path, panels, scales=("log",) * 3, x_labels=(label,) * 3)


def training(path: Path, rows: Sequence[Row]) -> None:
    """Outer loss along training, running means: every estimator sees the same batches."""

    def draw(axes: Any) -> None:
        for name, chosen in _by_estimator(rows):
            losses = _running_mean([row["outer_loss"] for row in chosen])
            axes.plot([row["step"] for row in chosen], losses, label=name)
        axes.legend(fontsize="small")

    _figure(path, [("outer loss", draw)], scales=("linear",), x_labels=("outer step",))


def adaptation(path: Path, rows: Sequence[Row]) -> None:
    """Loss along adaptation, mean over styles."""

    def draw(axes: Any) -> None:
        for name, chosen in _by_estimator(rows):
            steps = sorted({row["step"] for row in chosen})
            means = [np.mean([r["loss"] for r in chosen if r["step"] == step]) for step in steps]
            axes.plot(steps, means, marker="o", markersize=3, label=name)
        axes.legend(fontsize="small")

    panel = ("loss on validation contents", draw)
    _figure(path, [panel], scales=("linear",), x_labels=("adaptation steps",))


def evaluation(path: Path, rows: Sequence[Row]) -> None:
    """Loss and its parts along adaptation; methods of one step are horizontal lines."""
    methods = dict.fromkeys(row["method"] for row in rows)

    def lines(key: str) -> Callable:
        def draw(axes: Any) -> None:
            for method in methods:
                chosen = [row for row in rows if row["method"] == method]
                values = [row[key] for row in chosen]
                if len(chosen) == 1:
                    axes.axhline(values[0], label=method, linestyle="--", linewidth=1, color="gray")
                    axes.annotate(method, (1, values[0]), fontsize="x-small", va="bottom")
                else:
                    axes.plot([row["step"] for row in chosen], values, marker=".", label=method)
            axes.set_yscale("log")
            axes.legend(fontsize="x-small")

        return draw

    panels = [(key, lines(key)) for key in ("loss", "content", "style")]
    labels = ("adaptation steps",) * len(panels)
    _figure(path, panels, scales=("symlog",) * len(panels), x_labels=labels)


def sliders(path: Path, rows: Sequence[Row]) -> None:
    """Loss of each layer against its weight, with the other weights at 0 and at 1."""

    def lines(layer: str) -> Callable:
        def draw(axes: Any) -> None:
            chosen = [row for row in rows if row["layer"] == layer]
            for others in dict.fromkeys(row["others"] for row in chosen):
                line = [row for row in chosen if row["others"] == others]
                weights = [row["weight"] for row in line]
                axes.plot(weights, [row["loss"] for row in line], label=f"others {others:g}")
            axes.legend(fontsize="small")

        return draw

    layers = list(dict.fromkeys(row["layer"] for row in rows))
    panels = [(f"style loss at {layer}", lines(layer)) for layer in layers]
    scales, labels = ["linear"] * len(layers), [f"weight of {layer}" for layer in layers]
    _figure(path, panels, scales=scales, x_labels=labels)


def _by_estimator(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    names = dict.fromkeys(row["estimator"] for row in rows)
    return [(name, [row for row in rows if row["estimator"] == name]) for name in names]


def _running_mean(values: Sequence[float]) -> np.ndarray:
    half = SMOOTHING // 2
    return np.array([np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _figure(
    path: Path,
    panels: Sequence[tuple[str, Callable[[Any], None]]],
    *,
    scales: Sequence[str],
    x_labels: Sequence[str],
) -> None:
    from matplotlib.figure import Figure  # heavy, and an extra

    figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), layout="constrained")
    for axes, (title, draw), scale, label in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels, scales, x_labels, strict=True
    ):
        draw(axes)
        axes.set_title(title, fontsize="medium")
        axes.set_xscale(scale)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
