"""The same training with each estimator, and how fast what came of it adapts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.data import pipeline
from metastyle_jax.data.images import as_float
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.reporting.records import Row
from metastyle_jax.settings import configuration
from metastyle_jax.storage import initialization
from metastyle_jax.studies.meta_gradients.scene import source, variant
from metastyle_jax.training import meta_training
from metastyle_jax.training.program import load_network

RECORDED = 60  # about so many points of each training
EVALUATION_BATCH = 8


def train(
    config: ml_collections.ConfigDict, estimator: str, steps: int, workdir: Path
) -> list[Row]:
    """Train from the random start with `estimator`; all estimators see the same batches.

    A training that was stopped goes on from its last checkpoint.

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
    ]


def adapt(
    config: ml_collections.ConfigDict,
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
    params = jax.tree.map(jnp.asarray, initialization.load(init).params)
    objective = configuration.make_objective(config)
    network = load_network(config)
    targets = style_adaptation.make_style_targets(style, network, objective=objective)
    losses: list[tuple[int, float]] = []

    def record(step: int, params: Any, metrics: Any = None, seconds: float = 0.0) -> None:
        if step in at:
            chunks = np.split(contents, range(EVALUATION_BATCH, len(contents), EVALUATION_BATCH))
            means = [
                len(chunk)
                * style_adaptation.evaluate_batch(
                    params, chunk, targets, network, objective=objective, noise=config.data.noise
                )["loss"]
                for chunk in chunks
            ]
            losses.append((step, float(sum(means)) / len(contents)))

    record(0, params)
    style_adaptation.adapt(
        params,
        style,
        pipeline.crops(
            source(config, "content"),
            image_size=config.data.image_size,
            count=config.batch.contents,
            seed=config.seed,
            threads=0,
        ),
        network,
        style_adaptation.AdaptationSettings(
            objective=objective,
            steps=max(at),
            learning_rate=learning_rate,
            parameters="norm",
            noise=config.data.noise,
        ),
        on_step=record,
    )
    return losses


def center_crops(config: ml_collections.ConfigDict, kind: str, count: int) -> np.ndarray:
    """(count, size, size, 3) of images spread evenly over the source of `kind`."""
    images, size = source(config, kind), config.data.image_size
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    return np.stack([as_float(center_crop_resized(images[int(i)], size)) for i in chosen])
