"""What an evaluation compares: copies, adapted initialisations, and what bounds them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import adaptation, image_optimization, settings, transformer
from metastyle_jax.data import pipeline
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.study import evaluation_report
from metastyle_jax.study.gallery import Candidate, Gallery
from metastyle_jax.study.judging import judge
from metastyle_jax.study.records import Row
from metastyle_jax.stylization import stylize_image

SCRATCH_RATE = 1e-3  # of Adam, as Johnson et al. train
PIXEL_RATE = 0.02
USUAL_SCALE = 1.3  # the largest of the crops to adapt on, as in training


def copies(gallery: Gallery, number: int) -> list[Row]:
    """The content unchanged, and the style unchanged in place of every content."""
    style = gallery.styles[number]
    pictures = {
        "content unchanged": gallery.contents,
        "style unchanged": np.broadcast_to(style, gallery.contents.shape),
    }
    return [_judged(gallery, number, name, 0, 0.0, x) for name, x in pictures.items()]


def adapt_candidate(
    gallery: Gallery, number: int, *, candidate: Candidate, moves: str
) -> list[Row]:
    """Adaptation of the 3,200 parameters of the style ("norm"), or of all of them."""
    how = adaptation.AdaptationSettings(
        candidate.goal,
        steps=max(gallery.evaluation.at),
        learning_rate=gallery.evaluation.rate(moves),
        parameters=moves,
        noise=settings.recorded_noise(candidate.init.settings),
    )
    method = f"{candidate.name} {moves}"
    start = candidate.init.params
    return _adapt(gallery, number, method, candidate, start, how, gallery.evaluation.at)


def from_scratch(gallery: Gallery, number: int) -> list[Row]:
    """A network of random parameters trained on this style alone, without noise (Johnson 2016)."""
    first, at = gallery.candidates[0], gallery.evaluation.scratch_at
    network = transformer.architecture(first.init.params["weights"])
    params = transformer.init(jax.random.key(0), **network)
    how = adaptation.AdaptationSettings(
        first.goal, steps=max(at), learning_rate=SCRATCH_RATE, parameters="all"
    )
    return _adapt(gallery, number, evaluation_report.SCRATCH, first, params, how, at)


def _adapt(
    gallery: Gallery,
    number: int,
    method: str,
    candidate: Candidate,
    params: Any,
    how: adaptation.AdaptationSettings,
    at: Sequence[int],
) -> list[Row]:
    evaluation, rows, judging = gallery.evaluation, [], 0.0
    params = jax.tree.map(jnp.asarray, params)

    def record(step: int, params: Any, metrics: Any = None, seconds: float = 0.0) -> None:
        nonlocal judging  # seconds, which the clock of `adapt` counts too
        if step in at:
            began = time.perf_counter()
            outputs = np.stack([stylize_image(params, x, how.noise) for x in gallery.contents])
            rows.append(_judged(gallery, number, method, step, seconds - judging, outputs))
            judging += time.perf_counter() - began

    record(0, params)
    judging = 0.0
    source = FolderSource(evaluation.training_contents or evaluation.contents, "content folder")
    crops = pipeline.crops(
        source,
        image_size=evaluation.size,
        count=evaluation.batch,
        seed=0,
        min_scale=evaluation.scale,
        max_scale=max(evaluation.scale, USUAL_SCALE),
        threads=1,
    )
    style = gallery.styles[number]
    adaptation.adapt(params, style, crops, candidate.features, how, on_step=record)
    return rows


def optimize_pixels(gallery: Gallery, number: int) -> list[Row]:
    """Optimisation of the pixels of the first contents under the same objective: the bound."""
    evaluation, first = gallery.evaluation, gallery.candidates[0]
    contents = gallery.contents[: evaluation.pixel_contents]
    style = gallery.styles[number]
    targets = image_optimization.make_targets(
        first.goal, first.features, contents, [style] * len(contents)
    )
    how = image_optimization.OptimizationSettings(
        first.goal, steps=evaluation.pixel_steps, learning_rate=PIXEL_RATE
    )
    seconds = 0.0

    def keep(state: Any, metrics: Any, elapsed: float) -> None:
        nonlocal seconds
        seconds = elapsed

    start = image_optimization.start(contents, how)
    state = image_optimization.optimize(start, targets, first.features, how, on_call=keep)
    images = np.asarray(state.images)
    return [_judged(gallery, number, "pixels", evaluation.pixel_steps, seconds, images)]


def _judged(
    gallery: Gallery, number: int, method: str, step: int, seconds: float, outputs: np.ndarray
) -> Row:
    """A row of the table; the picture of the first content is kept for the sheet."""
    style, contents = gallery.styles[number], gallery.contents[: len(outputs)]
    name = gallery.names[number]
    write_png(gallery.out / "images" / f"{name}_{_slug(method)}_{step:04d}.png", outputs[0])
    found = judge(gallery.by, outputs, contents, style)
    itself = gallery.by.features is gallery.own.features  # the judge is the training's own
    own = found if itself else judge(gallery.own, outputs, contents, style)
    found["own loss"] = own["loss"]
    return {"style image": name, "method": method, "step": step, "seconds": seconds, **found}


def _slug(method: str) -> str:
    return method.replace(" ", "_")


def picture_of(gallery: Gallery, row: Row) -> np.ndarray:
    """The picture of the first content that belongs to a row."""
    name = f"{row['style image']}_{_slug(row['method'])}_{row['step']:04d}.png"
    return read_image(gallery.out / "images" / name)
