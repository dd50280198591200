"""Evaluation of initializations: adapt them, and compare with bounds and other methods."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from metastyle_jax.evaluation import (
    blind_sheet,
    evaluation_inputs,
    evaluation_report,
    judging,
    methods,
)
from metastyle_jax.evaluation.evaluation_inputs import EvaluationInputs
from metastyle_jax.evaluation.evaluation_settings import EvaluationSettings
from metastyle_jax.networks import stylization_network
from metastyle_jax.reporting import plots
from metastyle_jax.reporting.records import Records, Row
from metastyle_jax.settings import provenance
from metastyle_jax.storage import home_folder
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.storage.digest import tree_digest

# settings of the candidates: controls and bounds do not depend on them, and are measured once
CANDIDATE_SETTINGS = ("init", "start", "moves", "norm_rate", "all_rate", "at", "compare")
CANDIDATE_SETTINGS += ("blind", "blind_pairs")

Method = tuple[str, int, Callable[[EvaluationInputs, int], list[Row]]]


def run(settings: EvaluationSettings, out: Path) -> None:
    """Evaluate; write tables, CSV files, plots, a contact sheet and all pictures to `out`.

    A run that was stopped continues after the last complete method and style, also with other
    initializations.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    plots.require_matplotlib()
    inputs = evaluation_inputs.load(settings, home_folder.expanded(out))
    prepare_folder(inputs.out)
    styles = len(inputs.styles.names)
    bound_styles = min(inputs.settings.bound_styles, styles)
    bounds: list[Method] = [
        (evaluation_report.SCRATCH, bound_styles, methods.from_scratch),
        ("pixels", bound_styles, methods.optimize_pixels),
    ]
    candidates = _candidates(inputs)
    compared: list[Method] = [
        (f"{name}, {folder}", styles, functools.partial(methods.compare, name=name))
        for name, folder in inputs.compared.items()
    ]
    controls: list[Method] = [("controls", styles, methods.controls)]
    # bounds first: candidates may be stopped and replaced
    order = [*controls, *bounds, *candidates, *compared]
    total = sum(count for _, count, _ in order)
    records = Records(inputs.out / "measurements.json", _shared_settings(inputs), total=total)
    measured = {name: _measure(records, inputs, name, n, function) for name, n, function in order}
    reported = [*controls, *candidates, *compared, *bounds]
    rows = [row for name, _, _ in reported for row in measured[name]]
    of_methods = [row for name, _, _ in (*candidates, *compared) for row in measured[name]]
    picture_of = functools.partial(methods.picture_of, inputs)
    evaluation_report.write(inputs, rows, picture_of, _heading(inputs))
    evaluation_report.write_wins(inputs.out, of_methods, list(inputs.compared))
    if inputs.settings.blind >= 0:
        blind_sheet.write(inputs, evaluation_report.of_last_steps(of_methods), picture_of)


def _measure(
    records: Records,
    inputs: EvaluationInputs,
    name: str,
    count: int,
    function: Callable[[EvaluationInputs, int], list[Row]],
) -> list[Row]:
    """The rows of a method for the first `count` styles."""
    rows: list[Row] = []
    for number, style in enumerate(inputs.styles.names[:count]):
        rows += records.measure(f"{style}, {name}", functools.partial(function, inputs, number))
    return rows


def _candidates(inputs: EvaluationInputs) -> list[Method]:
    """Every initialization with every start and every choice of moved parameters.

    The names hold all that the measurements depend on, because records are found by name.
    """
    settings = inputs.settings
    at = ",".join(map(str, settings.at))
    return [
        (
            f"{candidate.method(kind, moves)}, rate {settings.rate(moves):g}, noise "
            f"{provenance.recorded_noise(candidate.init.settings):g}, after {at}, weights "
            f"{candidate.init.digest[:12]}",
            len(inputs.styles.names),
            functools.partial(methods.adapt_candidate, candidate=candidate, kind=kind, moves=moves),
        )
        for candidate in inputs.candidates
        for kind in candidate.kinds(settings.starts)
        for moves in settings.moves
    ]


def _shared_settings(inputs: EvaluationInputs) -> dict[str, Any]:
    """Settings that all measurements depend on.

    Bounds also depend on the first candidate: the network from scratch has its architecture, and
    all minimize its objective.
    """
    described = dataclasses.asdict(inputs.settings)
    for name in CANDIDATE_SETTINGS:
        del described[name]
    first = inputs.candidates[0]
    described["objective"] = provenance.record_objective(first.objective)
    described["network"] = stylization_network.architecture(first.init.params["weights"])
    for name, network in (("features", first.network), ("judge", inputs.judge.network)):
        described[f"{name} pooling"] = network.pooling
        described[f"{name} weights"] = tree_digest(jax.device_get(network.weights))
    return described | judging.units(inputs.judge)


def _heading(inputs: EvaluationInputs) -> str:
    settings, judge, first = inputs.settings, inputs.judge, inputs.candidates[0]
    lpips = "" if judge.lpips else " LPIPS was not measured."
    rates = ", ".join(f"{moves} {settings.rate(moves):g}" for moves in settings.moves)
    return (
        f"{', '.join(settings.init)}, adapted with {first.network.spec} (Adam: {rates}), judged "
        f"by {judge.network.spec} (errors relative to the targets, style weight "
        f"{judge.objective.style_weight:g}); {len(inputs.styles.names)} styles x "
        f"{len(inputs.contents.names)} contents of {settings.size} px (scale "
        f"{settings.scale:g}), {settings.batch} contents per step; the pixels of "
        f"{settings.pixel_contents} contents.{lpips} All settings: `measurements.json`."
    )
