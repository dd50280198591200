"""Training with each estimator on the same batches, and adaptation of the results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metastyle_jax.adaptation import service
from metastyle_jax.data.images import as_float
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.reporting.records import Row
from metastyle_jax.settings import construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage import initialization
from metastyle_jax.studies.meta_gradients.measurement_point import variant
from metastyle_jax.stylization import stylizer
from metastyle_jax.stylization.stylizer import Stylizer
from metastyle_jax.training import meta_training, training_pictures
from metastyle_jax.training.program import load_network

RECORDED = 60  # about so many points of each training


def train(config: Settings, estimator: str, steps: int, workdir: Path) -> list[Row]:
    """Train from the random start with `estimator`; all estimators see the same batches.

    A training that was stopped continues from its last checkpoint.

    Returns:
      Rows with "estimator", "step", "inner_loss" (before the first inner step) and "outer_loss".
    """
    every = max(1, steps // RECORDED)
    changes = {
        "outer.estimator": estimator,
        "outer.steps": steps,
        "log.every": every,
        "log.sheet_every": 0,
        "checkpoint.every": min(steps, 5 * every),
        "checkpoint.keep": 1,
    }
    meta_training.train(variant(config, **changes), workdir, resume=True)
    lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {
            "estimator": estimator,
            "step": record["step"],
            "inner_loss": record.get("inner_loss_0", record["outer_loss"]),
            "outer_loss": record["outer_loss"],
        }
        for record in map(json.loads, lines)
        if "outer_loss" in record  # others are of validation
    ]


def adapt(
    config: Settings,
    init: str,
    *,
    style: np.ndarray,
    contents: np.ndarray,
    at: Sequence[int],
    learning_rate: float,
) -> list[tuple[int, float]]:
    """[(step, loss)] of Adam on the norm parameters after each of the steps `at`.

    Args:
      config: of the training; its contents are adapted on, its objective is the loss.
      init: what `initialization.load` takes.
      style: (H, W, 3) in [0, 1].
      contents: (N, H, W, 3) that the loss is a mean over.
      at: steps, 0 among them for the loss before.
      learning_rate: of Adam.
    """
    beginning = stylizer.from_initialization(initialization.load(init))
    start = service.Start(
        dataclasses.replace(beginning, input_noise=config.data.noise),
        construction.make_objective(config),
        load_network(config),
    )
    measure = service.losses_over(start, style, contents)
    losses: list[tuple[int, float]] = []

    def record(step: int, reached: Stylizer, metrics: Any = None, seconds: float = 0.0) -> None:
        if step in at:
            losses.append((step, measure(reached)["loss"]))

    record(0, start.stylizer)
    options = service.Options(
        steps=max(at),
        learning_rate=learning_rate,
        size=config.data.image_size,
        batch=config.batch.contents,
        seed=config.seed,
        threads=0,
    )
    source = training_pictures.source_of(config, "content")
    service.adapt(start, style, source, options, on_step=record)
    return losses


def center_crops(config: Settings, kind: Literal["content", "style"], count: int) -> np.ndarray:
    """(count, size, size, 3) of images spread evenly over the source of `kind`."""
    images, size = training_pictures.source_of(config, kind), config.data.image_size
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return np.stack([as_float(center_crop_resized(images[int(i)], size)) for i in chosen])
