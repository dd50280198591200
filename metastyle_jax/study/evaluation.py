"""How good initialisations are: what they adapt to, between bounds, before a strange judge."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from metastyle_jax import settings, transformer
from metastyle_jax.atomic import prepare_folder
from metastyle_jax.digest import tree_digest
from metastyle_jax.study import evaluation_report, gallery, methods, plots
from metastyle_jax.study.gallery import Evaluation, Gallery
from metastyle_jax.study.records import Records, Row

# what bounds do not depend on, so that they are measured once for all initialisations
OF_CANDIDATES = ("init", "moves", "norm_rate", "all_rate", "at")

Method = tuple[str, int, Callable[[Gallery, int], list[Row]]]


def run(evaluation: Evaluation, out: Path) -> None:
    """Judge everything; writes `evaluation.md`, CSV, plots, and a contact sheet below `out`.

    Stopped and started again, with other initialisations too, it goes on after the last method and
    style that was finished.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    plots.require_matplotlib()
    judged = gallery.load(evaluation, Path(out).expanduser())
    prepare_folder(judged.out)
    bounds = min(evaluation.bound_styles, len(judged.names))
    of_bounds: list[Method] = [
        (evaluation_report.SCRATCH, bounds, methods.from_scratch),
        ("pixels", bounds, methods.optimize_pixels),
    ]
    of_candidates = _candidates(judged)
    copies: list[Method] = [("copies", len(judged.names), methods.copies)]
    # bounds first: candidates may be stopped and exchanged
    order = [*copies, *of_bounds, *of_candidates]
    total = sum(count for _, count, _ in order)
    records = Records(judged.out / "measurements.json", _shared_settings(judged), total=total)
    measured = {name: _measure(records, judged, name, n, how) for name, n, how in order}
    reported = [*copies, *of_candidates, *of_bounds]
    rows = [row for name, _, _ in reported for row in measured[name]]
    pictures = {
        (row["style image"], row["method"], row["step"]): methods.picture_of(judged, row)
        for row in rows
    }
    sides = dict(zip(judged.names, judged.styles, strict=True))
    evaluation_report.write(judged.out, rows, pictures, judged.contents[0], sides, _heading(judged))


def _measure(
    records: Records,
    judged: Gallery,
    name: str,
    count: int,
    function: Callable[[Gallery, int], list[Row]],
) -> list[Row]:
    """The rows of a method for the first `count` styles."""
    rows: list[Row] = []
    for number, style in enumerate(judged.names[:count]):
        rows += records.measure(f"{style}, {name}", functools.partial(function, judged, number))
    return rows


def _candidates(judged: Gallery) -> list[Method]:
    """Every initialisation with everything that adaptation moves, named by all that matters."""
    evaluation = judged.evaluation
    at = ",".join(map(str, evaluation.at))
    return [
        (
            f"{candidate.name} {moves}, rate {evaluation.rate(moves):g}, noise "
            f"{settings.recorded_noise(candidate.init.settings):g}, after {at}, weights "
            f"{candidate.init.digest[:12]}",
            len(judged.names),
            functools.partial(methods.adapt_candidate, candidate=candidate, moves=moves),
        )
        for candidate in judged.candidates
        for moves in evaluation.moves
    ]


def _shared_settings(judged: Gallery) -> dict[str, Any]:
    """What all measurements depend on; bounds also on the first candidate: the network from scratch
    has its architecture, and all minimise what it minimised."""
    described = dataclasses.asdict(judged.evaluation)
    for name in OF_CANDIDATES:
        del described[name]
    first = judged.candidates[0]
    described["objective"] = settings.record_objective(first.goal)
    described["network"] = transformer.architecture(first.init.params["weights"])
    described["feature weights"] = tree_digest(jax.device_get(first.features))
    return described


def _heading(judged: Gallery) -> str:
    evaluation = judged.evaluation
    without = "" if judged.by.lpips else " LPIPS: no files were given."
    rates = ", ".join(f"{moves} {evaluation.rate(moves):g}" for moves in evaluation.moves)
    return (
        f"{', '.join(evaluation.init)}, adapted with {judged.candidates[0].goal.architecture} "
        f"(Adam: {rates}), judged by "
        f"{judged.by.goal.architecture} (loss relative to the targets, style weight "
        f"{judged.by.goal.style_weight:g}); {len(judged.names)} styles x "
        f"{len(judged.contents)} contents of {evaluation.size} px (scale {evaluation.scale:g}), "
        f"{evaluation.batch} contents per step; the pixels of "
        f"{evaluation.pixel_contents} contents.{without} All settings: `measurements.json`."
    )
