"""What an evaluation compares: controls, adapted initialisations, other methods, and bounds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax.adaptation import service
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import write_png
from metastyle_jax.evaluation import evaluation_report
from metastyle_jax.evaluation.gallery import Candidate, Evaluation, Gallery, read_picture
from metastyle_jax.evaluation.judging import judge
from metastyle_jax.networks import stylization_network
from metastyle_jax.pixels import image_optimization
from metastyle_jax.reporting.records import Row
from metastyle_jax.stylization.stylizer import Stylizer

SCRATCH_RATE = 1e-3  # of Adam, as Johnson et al. train
PIXEL_RATE = 0.02
USUAL_SCALE = 1.3  # the largest of the crops to adapt on, as in training


def controls(gallery: Gallery, number: int) -> list[Row]:
    """The content unchanged, the style in place of every content, and an untrained network."""
    style, contents = gallery.styles.images[number], gallery.contents.images
    untrained = _untrained(gallery)
    pictures = {
        "content unchanged": contents,
        "style unchanged": np.broadcast_to(style, contents.shape),
        "untrained network": untrained(contents),
    }
    return [
        row for name, x in pictures.items() for row in _judged(gallery, number, name, 0, 0.0, x)
    ]


def compare(gallery: Gallery, number: int, *, name: str) -> list[Row]:
    """The pictures of another method, see `Evaluation.compare`."""
    folder, style = gallery.compared[name], gallery.styles.names[number]
    size = gallery.evaluation.size
    outputs = [read_picture(folder, style, content, size) for content in gallery.contents.names]
    return _judged(gallery, number, name, 0, float("nan"), np.stack(outputs))


def adapt_candidate(
    gallery: Gallery, number: int, *, candidate: Candidate, moves: str
) -> list[Row]:
    """Adaptation of the 3,200 parameters of the style ("norm"), or of all of them."""
    evaluation = gallery.evaluation
    options = _options(evaluation, evaluation.at, evaluation.rate(moves), moves)
    return _adapt(gallery, number, f"{candidate.name} {moves}", candidate.start, options)


def from_scratch(gallery: Gallery, number: int) -> list[Row]:
    """A random network trained on this style alone, without input noise (Johnson et al. 2016)."""
    evaluation = gallery.evaluation
    start = dataclasses.replace(gallery.candidates[0].start, stylizer=_untrained(gallery))
    options = _options(evaluation, evaluation.scratch_at, SCRATCH_RATE, "all")
    return _adapt(gallery, number, evaluation_report.SCRATCH, start, options)


def _untrained(gallery: Gallery) -> Stylizer:
    """Random parameters of the first candidate's network."""
    network = stylization_network.architecture(gallery.candidates[0].init.params["weights"])
    return Stylizer(**stylization_network.init(jax.random.key(0), **network))


def _options(evaluation: Evaluation, at: Sequence[int], rate: float, moves: str) -> service.Options:
    return service.Options(
        steps=max(at),
        learning_rate=rate,
        parameters=moves,
        size=evaluation.size,
        batch=evaluation.batch,
        min_scale=evaluation.scale,
        max_scale=max(evaluation.scale, USUAL_SCALE),
    )


def _adapt(
    gallery: Gallery, number: int, method: str, start: service.Start, options: service.Options
) -> list[Row]:
    evaluation, rows, judging = gallery.evaluation, [], 0.0
    at = evaluation.scratch_at if method == evaluation_report.SCRATCH else evaluation.at

    def record(step: int, stylizer: Stylizer, metrics: Any = None, seconds: float = 0.0) -> None:
        nonlocal judging  # seconds, which the clock of the adaptation counts too
        if step in at:
            began = time.perf_counter()
            outputs = stylizer(gallery.contents.images)
            rows.extend(_judged(gallery, number, method, step, seconds - judging, outputs))
            judging += time.perf_counter() - began

    record(0, start.stylizer)
    judging = 0.0
    source = FolderSource(evaluation.training_contents or evaluation.contents, "content folder")
    service.adapt(start, gallery.styles.images[number], source, options, on_step=record)
    return rows


def optimize_pixels(gallery: Gallery, number: int) -> list[Row]:
    """Optimisation of the pixels of the first contents under the same objective: the bound."""
    evaluation, first = gallery.evaluation, gallery.candidates[0]
    contents = gallery.contents.images[: evaluation.pixel_contents]
    style = gallery.styles.images[number]
    targets = image_optimization.make_targets(
        first.objective, first.network, contents, [style] * len(contents)
    )
    how = image_optimization.OptimizationSettings(
        first.objective, steps=evaluation.pixel_steps, learning_rate=PIXEL_RATE
    )
    seconds = 0.0

    def keep(state: Any, metrics: Any, elapsed: float) -> None:
        nonlocal seconds
        seconds = elapsed

    start = image_optimization.start(contents, how)
    state = image_optimization.optimize(start, targets, first.network, how, on_call=keep)
    images = np.asarray(state.images)
    return _judged(gallery, number, "pixels", evaluation.pixel_steps, seconds, images)


def _judged(
    gallery: Gallery, number: int, method: str, step: int, seconds: float, outputs: np.ndarray
) -> list[Row]:
    """A row for each of the first contents; the pictures are kept, see `folder_of`."""
    style, contents = gallery.styles.images[number], gallery.contents.images[: len(outputs)]
    name, names = gallery.styles.names[number], gallery.contents.names[: len(outputs)]
    folder = folder_of(gallery, method, step) / name
    for content, output in zip(names, outputs, strict=True):
        write_png(folder / f"{content}.png", output)
    found = judge(gallery.by, outputs, contents, style)
    itself = gallery.by.network is gallery.own.network  # the judge is the training's own
    own = found if itself else judge(gallery.own, outputs, contents, style)
    found["own loss"] = own["loss"]
    same = {"style image": name, "method": method, "step": step, "seconds": seconds}
    return [
        {**same, "content image": content, **{key: float(x[i]) for key, x in found.items()}}
        for i, content in enumerate(names)
    ]


def folder_of(gallery: Gallery, method: str, step: int) -> Path:
    """Where the pictures of a method after a step are: `STYLE/CONTENT.png` below it."""
    return gallery.out / "images" / f"{method.replace(' ', '_')}_{step:04d}"


def picture_of(gallery: Gallery, row: Row) -> np.ndarray:
    """The picture that belongs to a row."""
    folder = folder_of(gallery, row["method"], row["step"])
    style, content = row["style image"], row["content image"]
    return read_picture(folder, style, content, gallery.evaluation.size)
