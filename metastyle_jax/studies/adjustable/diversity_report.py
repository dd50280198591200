"""The report of the study of diversity: losses against the plain drawing, equal style loss."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metastyle_jax.losses.perceptual import Objective
from metastyle_jax.reporting.records import Row, markdown_table, write_csv
from metastyle_jax.storage.atomic import write_text
from metastyle_jax.studies.adjustable.drawing_variations import Method

STYLE = "style {}"  # key of the loss of a style layer, as `judging.measure` has it
OUT_OF_REACH = "out of reach ({} loss)"  # of a baseline whose loss is always "higher", "lower"
_EQUAL = "equal: {}"  # key of the diversity of a baseline at equal style loss


def summarize(
    methods: Sequence[Method],
    rows: Mapping[str, Sequence[Row]],
    objective: Objective,
    *,
    averaged: bool,
) -> list[Row]:
    """A row for each method and content, in the order of `methods`, the first of which is plain.

    Args:
      methods: all that were measured.
      rows: of each: "content", "diversity", "content loss", and `STYLE` of each style layer.
      objective: of the training.
      averaged: whether the training brought the losses of all layers to one size by their moving
        averages. Here it is done by their means over the plain drawings.

    Returns:
      Rows with "method", "baseline", "content", "diversity"; "style" and "content loss", multiples
      of the means of the plain drawings.
    """
    plain = rows[methods[0].name]
    layers = [STYLE.format(layer) for layer in objective.style_layers]
    means = {key: float(np.mean([row[key] for row in plain])) for key in (*layers, "content loss")}
    weights = objective.style_layer_weights or (1.0,) * len(layers)
    # as in the training's loss; the measured losses are without weights
    factors = {
        layer: weight / means[layer] if averaged else weight
        for layer, weight in zip(layers, weights, strict=True)
        if weight > 0
    }
    whole = sum(factor * means[layer] for layer, factor in factors.items())
    return [
        {
            "method": method.name,
            "baseline": method.baseline,
            "content": row["content"],
            "diversity": row["diversity"],
            "style": sum(factor * row[layer] for layer, factor in factors.items()) / whole,
            "content loss": row["content loss"] / means["content loss"],
        }
        for method in methods
        for row in rows[method.name]
    ]


def at_equal_loss(points: Sequence[tuple[float, float]], style: float) -> float | None:
    """The diversity of a baseline at a style loss, linear between its deviations.

    Args:
      points: (style loss, diversity) of each deviation, in their order.
      style: the style loss.

    Returns:
      The diversity where the baseline reaches this loss first; None if it never does.
    """
    for (start, low), (end, high) in itertools.pairwise(points):
        if min(start, end) <= style <= max(start, end):
            share = (style - start) / (end - start) if end != start else 0.0
            return low + share * (high - low)
    return None


def _at_equal_loss_or_why_not(points: Sequence[tuple[float, float]], style: float) -> float | str:
    equal = at_equal_loss(points, style)
    if equal is not None:
        return equal
    return OUT_OF_REACH.format("higher" if style < points[0][0] else "lower")


def write(out: Path, rows: Sequence[Row]) -> None:
    """Write `diversity.csv` and `diversity.md`, of the rows of `summarize`."""
    write_csv(out / "diversity.csv", rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    table = [_mean_row([row for row in rows if row["method"] == name]) for name in methods]
    baselines = [name for name in dict.fromkeys(row["baseline"] for row in table) if name]
    for name in baselines:
        points = [(row["style"], row["diversity"]) for row in table if row["baseline"] == name]
        for row in table:
            if not row["baseline"]:
                row[_EQUAL.format(name)] = _at_equal_loss_or_why_not(points, row["style"])
    columns = {
        "method": "variation",
        "diversity": "diversity",
        "style": "style loss",
        "content loss": "content loss",
        **{_EQUAL.format(name): f"diversity of {name} at equal style loss" for name in baselines},
    }
    contents = len({row["content"] for row in rows})
    text = (
        "# Diversity of random variations\n\n"
        f"Means over {contents} contents. Diversity: mean LPIPS over all pairs of variations. "
        "Losses: of the training's objective at weights of 1, as multiples of those of the plain "
        "drawing. Parameter noise: on the parameters of the style when drawing, with its "
        "standard deviation; noisy training: the same, of a network that was trained with such "
        "noise. Out of reach: the style loss of the baseline is higher, or lower, at all "
        "deviations up to the largest one.\n\n"
        f"{markdown_table(table, columns)}\n![first variations](diversity_sheet.png)\n"
    )
    write_text(out / "diversity.md", text)


def _mean_row(rows: Sequence[Row]) -> Row:
    numbers = ("diversity", "style", "content loss")
    means = {key: float(np.mean([row[key] for row in rows])) for key in numbers}
    return {"method": rows[0]["method"], "baseline": rows[0]["baseline"], **means}
