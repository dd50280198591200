"""How good initialisations are: what they adapt to, between bounds, before a strange judge."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from metastyle_jax.evaluation import blind_sheet, evaluation_report, gallery, methods
from metastyle_jax.evaluation.gallery import Evaluation, Gallery
from metastyle_jax.networks import stylization_network
from metastyle_jax.reporting import plots
from metastyle_jax.reporting.records import Records, Row
from metastyle_jax.settings import provenance
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.storage.digest import tree_digest

# what bounds do not depend on, so that they are measured once for all initialisations
OF_CANDIDATES = ("init", "moves", "norm_rate", "all_rate", "at", "compare", "preset")
OF_CANDIDATES += ("blind", "blind_pairs")

Method = tuple[str, int, Callable[[Gallery, int], list[Row]]]


def run(evaluation: Evaluation, out: Path) -> None:
    """Judge everything; writes tables, CSV, plots, a contact sheet and all pictures below `out`.

    Stopped and started again, with other initialisations too, it goes on after the last method and
    style that was finished.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    plots.require_matplotlib()
    judged = gallery.load(evaluation, Path(out).expanduser())
    prepare_folder(judged.out)
    styles = len(judged.styles.names)
    bounds = min(judged.evaluation.bound_styles, styles)
    of_bounds: list[Method] = [
        (evaluation_report.SCRATCH, bounds, methods.from_scratch),
        ("pixels", bounds, methods.optimize_pixels),
    ]
    of_candidates = _candidates(judged)
    compared: list[Method] = [
        (f"{name}, {folder}", styles, functools.partial(methods.compare, name=name))
        for name, folder in judged.compared.items()
    ]
    controls: list[Method] = [("controls", styles, methods.controls)]
    # bounds first: candidates may be stopped and exchanged
    order = [*controls, *of_bounds, *of_candidates, *compared]
    total = sum(count for _, count, _ in order)
    records = Records(judged.out / "measurements.json", _shared_settings(judged), total=total)
    measured = {name: _measure(records, judged, name, n, how) for name, n, how in order}
    reported = [*controls, *of_candidates, *compared, *of_bounds]
    rows = [row for name, _, _ in reported for row in measured[name]]
    of_methods = [row for name, _, _ in (*of_candidates, *compared) for row in measured[name]]
    picture_of = functools.partial(methods.picture_of, judged)
    evaluation_report.write(judged, rows, picture_of, _heading(judged))
    evaluation_report.write_wins(judged.out, of_methods, list(judged.compared))
    if judged.evaluation.blind >= 0:
        blind_sheet.write(judged, evaluation_report.of_last_steps(of_methods), picture_of)


def _measure(
    records: Records,
    judged: Gallery,
    name: str,
    count: int,
    function: Callable[[Gallery, int], list[Row]],
) -> list[Row]:
    """The rows of a method for the first `count` styles."""
    rows: list[Row] = []
    for number, style in enumerate(judged.styles.names[:count]):
        rows += records.measure(f"{style}, {name}", functools.partial(function, judged, number))
    return rows


def _candidates(judged: Gallery) -> list[Method]:
    """Every initialisation with everything that adaptation moves, named by all that matters."""
    evaluation = judged.evaluation
    at = ",".join(map(str, evaluation.at))
    return [
        (
            f"{candidate.name} {moves}, rate {evaluation.rate(moves):g}, noise "
            f"{candidate.start.stylizer.input_noise:g}, after {at}, weights "
            f"{candidate.init.digest[:12]}",
            len(judged.styles.names),
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
    described["objective"] = provenance.record_objective(first.objective)
    described["network"] = stylization_network.architecture(first.init.params["weights"])
    for name, network in (("features", first.network), ("judge", judged.by.network)):
        described[f"{name} pooling"] = network.pooling
        described[f"{name} weights"] = tree_digest(jax.device_get(network.weights))
    return described


def _heading(judged: Gallery) -> str:
    evaluation, by, first = judged.evaluation, judged.by, judged.candidates[0]
    lpips = "" if by.lpips else " LPIPS was not measured."
    rates = ", ".join(f"{moves} {evaluation.rate(moves):g}" for moves in evaluation.moves)
    return (
        f"{', '.join(evaluation.init)}, adapted with {first.network.spec} (Adam: {rates}), judged "
        f"by {by.network.spec} (errors relative to the targets, style weight "
        f"{by.objective.style_weight:g}); {len(judged.styles.names)} styles x "
        f"{len(judged.contents.names)} contents of {evaluation.size} px (scale "
        f"{evaluation.scale:g}), {evaluation.batch} contents per step; the pixels of "
        f"{evaluation.pixel_contents} contents.{lpips} All settings: `measurements.json`."
    )
