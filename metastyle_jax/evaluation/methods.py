"""Methods that an evaluation compares: controls, adaptation, other methods, and bounds."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax.adaptation import service, style_adaptation
from metastyle_jax.adaptation.style_adaptation import Place
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import write_png
from metastyle_jax.evaluation import evaluation_report, judging
from metastyle_jax.evaluation.evaluation_inputs import Candidate, EvaluationInputs, read_picture
from metastyle_jax.evaluation.evaluation_settings import EvaluationSettings
from metastyle_jax.evaluation.kept_adaptation import KeptAdaptation
from metastyle_jax.networks import stylization_network
from metastyle_jax.pixels import image_optimization
from metastyle_jax.reporting.records import Row
from metastyle_jax.settings import provenance
from metastyle_jax.stylization.stylizer import Stylizer

SCRATCH_RATE = 1e-3  # of Adam, as Johnson et al. train
PIXEL_RATE = 0.02
USUAL_SCALE = 1.3  # largest scale of the crops to adapt on, as in training


def controls(inputs: EvaluationInputs, number: int) -> list[Row]:
    """The content unchanged, the style in place of every content, and an untrained network."""
    style, contents = inputs.styles.images[number], inputs.contents.images
    untrained = _untrained(inputs)
    pictures = {
        "content unchanged": contents,
        "style unchanged": np.broadcast_to(style, contents.shape),
        "untrained network": untrained(contents),
    }
    return [row for name, x in pictures.items() for row in _judged(inputs, number, name, 0, 0.0, x)]


def compare(inputs: EvaluationInputs, number: int, *, name: str) -> list[Row]:
    """The pictures of another method, see `EvaluationSettings.compare`."""
    folder, style = inputs.compared[name], inputs.styles.names[number]
    size = inputs.settings.size
    outputs = [read_picture(folder, style, content, size) for content in inputs.contents.names]
    return _judged(inputs, number, name, 0, float("nan"), np.stack(outputs))


def adapt_candidate(
    inputs: EvaluationInputs, number: int, *, candidate: Candidate, kind: str, moves: str
) -> list[Row]:
    """Adaptation of the 3,200 parameters of the style ("norm"), or of all of them ("all").

    It starts from the style of `kind`, "neutral" or "predicted".
    """
    settings = inputs.settings
    options = _options(settings, settings.at, settings.rate(moves), moves)
    start = candidate.start(inputs.styles.images[number], kind)
    return _adapt(inputs, number, candidate.method(kind, moves), start, options)


def from_scratch(inputs: EvaluationInputs, number: int) -> list[Row]:
    """A random network trained on this style alone, without input noise (Johnson et al. 2016)."""
    settings = inputs.settings
    first = inputs.candidates[0]
    start = service.Start(_untrained(inputs), first.objective, first.network)
    options = _options(settings, settings.scratch_at, SCRATCH_RATE, "all")
    return _adapt(inputs, number, evaluation_report.SCRATCH, start, options)


def _untrained(inputs: EvaluationInputs) -> Stylizer:
    """Random parameters of the first candidate's network."""
    network = stylization_network.architecture(inputs.candidates[0].init.params["weights"])
    return Stylizer(**stylization_network.init(jax.random.key(0), **network))


def _options(
    settings: EvaluationSettings, at: Sequence[int], rate: float, moves: str
) -> service.Options:
    return service.Options(
        steps=max(at),
        learning_rate=rate,
        parameters=moves,
        size=settings.size,
        batch=settings.batch,
        min_scale=settings.scale,
        max_scale=max(settings.scale, USUAL_SCALE),
    )


def _adapt(
    inputs: EvaluationInputs,
    number: int,
    method: str,
    start: service.Start,
    options: service.Options,
) -> list[Row]:
    settings, style = inputs.settings, inputs.styles.names[number]
    at = settings.scratch_at if method == evaluation_report.SCRATCH else settings.at
    beginning = style_adaptation.beginning(start.stylizer.params, options.parameters)
    made_of = {
        "start": start.stylizer.recipe,
        "options": dataclasses.asdict(options),
        **provenance.record_objective(start.objective),
    }
    kept = KeptAdaptation(
        inputs.out / f"{method}_{style}.npz".replace(" ", "_"),
        f"{style}, {method}",
        max(at),
        json.dumps(made_of, sort_keys=True),
    )
    place, rows = kept.read(beginning)
    judging_seconds = 0.0

    def record(step: int, stylizer: Stylizer, metrics: Any = None, seconds: float = 0.0) -> None:
        nonlocal judging_seconds  # the clock of the adaptation counts them too
        if step in at:
            began = time.perf_counter()
            outputs = stylizer(inputs.contents.images)
            rows.extend(_judged(inputs, number, method, step, seconds - judging_seconds, outputs))
            judging_seconds += time.perf_counter() - began

    def keep(place: Place) -> None:
        kept.keep(place._replace(seconds=place.seconds - judging_seconds), rows)

    if not place.step:
        record(0, start.stylizer)
        judging_seconds = 0.0
    source = FolderSource(settings.training_contents or settings.contents, "content folder")
    image = inputs.styles.images[number]
    service.adapt(start, image, source, options, on_step=record, begin=place, keep=keep)
    kept.finish()
    return rows


def optimize_pixels(inputs: EvaluationInputs, number: int) -> list[Row]:
    """Pixel optimization of the first contents with the same objective: the bound."""
    settings, first = inputs.settings, inputs.candidates[0]
    contents = inputs.contents.images[: settings.pixel_contents]
    style = inputs.styles.images[number]
    targets = image_optimization.make_targets(
        first.objective, first.network, contents, [style] * len(contents)
    )
    optimization = image_optimization.OptimizationSettings(
        first.objective, steps=settings.pixel_steps, learning_rate=PIXEL_RATE
    )
    seconds = 0.0

    def keep(state: Any, metrics: Any, elapsed: float) -> None:
        nonlocal seconds
        seconds = elapsed

    start = image_optimization.start(contents, optimization)
    state = image_optimization.optimize(start, targets, first.network, optimization, on_call=keep)
    images = np.asarray(state.images)
    return _judged(inputs, number, "pixels", settings.pixel_steps, seconds, images)


def _judged(
    inputs: EvaluationInputs,
    number: int,
    method: str,
    step: int,
    seconds: float,
    outputs: np.ndarray,
) -> list[Row]:
    """Write the pictures to `folder_of` and measure them: one row for each content."""
    style, contents = inputs.styles.images[number], inputs.contents.images[: len(outputs)]
    name, names = inputs.styles.names[number], inputs.contents.names[: len(outputs)]
    folder = folder_of(inputs, method, step) / name
    for content, output in zip(names, outputs, strict=True):
        write_png(folder / f"{content}.png", output)
    measures = judging.measure(inputs.judge, outputs, contents, style)
    same_judge = inputs.judge.network is inputs.training_judge.network
    under_training = (
        measures if same_judge else judging.measure(inputs.training_judge, outputs, contents, style)
    )
    measures["own loss"] = under_training["loss"]
    same = {"style image": name, "method": method, "step": step, "seconds": seconds}
    return [
        {**same, "content image": content, **{key: float(x[i]) for key, x in measures.items()}}
        for i, content in enumerate(names)
    ]


def folder_of(inputs: EvaluationInputs, method: str, step: int) -> Path:
    """Folder of the pictures `STYLE/CONTENT.png` of a method after a step."""
    return inputs.out / "images" / f"{method.replace(' ', '_')}_{step:04d}"


def picture_of(inputs: EvaluationInputs, row: Row) -> np.ndarray:
    """The picture of a row."""
    folder = folder_of(inputs, row["method"], row["step"])
    style, content = row["style image"], row["content image"]
    return read_picture(folder, style, content, inputs.settings.size)
