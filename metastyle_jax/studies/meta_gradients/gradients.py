"""Cost of each estimator, and difference of its gradient to the exact one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.reporting.records import Row
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.studies.meta_gradients.measurement_point import (
    MeasurementPoint,
    loop_with_estimator,
)

_LOG = logging.getLogger(__name__)

PARTS = ("weights", "style")


class Measurement(NamedTuple):
    """Gradients of one estimator.

    Attributes:
      gradients: one `{"weights": (P,), "style": (Q,)}` float64 per batch.
      losses: the outer loss of each batch.
      milliseconds: median of a gradient, without the first.
      compile_seconds: of its program.
      temporary_bytes: that the program needs beside arguments and results.
    """

    gradients: list[dict[str, np.ndarray]]
    losses: list[float]
    milliseconds: float
    compile_seconds: float
    temporary_bytes: int


def measure(config: Settings, point: MeasurementPoint, estimator: str, steps: int):
    """`Measurement` of `estimator` with `steps` inner steps on every batch of `point`."""
    loop = loop_with_estimator(config, estimator, steps)
    schedule = construction.make_schedule(config)

    def gradient(params: MetaParameters, batch: Batch, task: StyleTask, step: jax.Array):
        return outer_step.outer_gradient(params, step, batch, task, loop=loop, schedule=schedule)

    def arguments(batch: Batch) -> tuple:
        return point.params, batch, point.task, point.step

    start = time.perf_counter()
    program = compilation.jit(gradient).lower(*arguments(point.batches[0])).compile()
    compile_seconds = time.perf_counter() - start
    jax.block_until_ready(program(*arguments(point.batches[0])))  # the first run is slower
    gradients, losses, seconds = [], [], []
    for batch in point.batches:
        start = time.perf_counter()
        gradient_of_batch, metrics = jax.block_until_ready(program(*arguments(batch)))
        seconds.append(time.perf_counter() - start)
        gradients.append({part: flat(getattr(gradient_of_batch, part)) for part in PARTS})
        losses.append(float(metrics["outer_loss"]))
    return Measurement(
        gradients,
        losses,
        1e3 * float(np.median(seconds)),
        compile_seconds,
        program.memory_analysis().temp_size_in_bytes,
    )


def compare_estimators(
    config: Settings, point: MeasurementPoint, estimators: Sequence[str], steps: int
) -> list[Row]:
    """A row for each estimator: its cost, and its gradient against that of `exact`.

    Cosines and norm ratios are means over batches. "cosine_of_means" compares gradients averaged
    over the batches first, which leaves the bias and averages out the noise. The row "exact, other
    batch" has the mean cosine of exact gradients of two different batches: the noise of one step.
    """
    exact = measure(config, point, "exact", steps)
    rows = []
    for name in dict.fromkeys(("exact", *estimators)):
        measurement = exact if name == "exact" else measure(config, point, name, steps)
        cost = {
            "milliseconds": measurement.milliseconds,
            "compile_seconds": measurement.compile_seconds,
            "temporary_megabytes": measurement.temporary_bytes / 1e6,
            "outer_loss": float(np.mean(measurement.losses)),
        }
        quality = compare(measurement.gradients, exact.gradients)
        rows.append({"steps": steps, "estimator": name, **cost, **quality})
        _LOG.info(f"  T={steps} {name}: {measurement.milliseconds:.0f} ms, {quality['cosine']:.4f}")
    if len(exact.gradients) > 1:
        rows.append(
            {"steps": steps, "estimator": "exact, other batch", **batch_noise(exact.gradients)}
        )
    return rows


def compare(gradients: Sequence[dict], exact: Sequence[dict]) -> dict[str, float]:
    """Cosines and norm ratios to `exact`, of all parameters and of the two parts."""

    def mean(function: Callable, part: Callable) -> float:
        pairs = zip(gradients, exact, strict=True)
        return float(np.mean([function(part(a), part(b)) for a, b in pairs]))

    averages = [
        {part: np.mean([gradient[part] for gradient in tree], axis=0) for part in PARTS}
        for tree in (gradients, exact)
    ]
    return {
        "cosine": mean(cosine, joined),
        "cosine_weights": mean(cosine, lambda gradient: gradient["weights"]),
        "cosine_style": mean(cosine, lambda gradient: gradient["style"]),
        "norm_ratio": mean(norm_ratio, joined),
        "cosine_of_means": cosine(*map(joined, averages)),
    }


def batch_noise(gradients: Sequence[dict]) -> dict[str, float]:
    """Mean cosine over all pairs of batches."""

    def mean(part: Callable) -> float:
        pairs = [(a, b) for i, a in enumerate(gradients) for b in gradients[:i]]
        return float(np.mean([cosine(part(a), part(b)) for a, b in pairs]))

    return {
        "cosine": mean(joined),
        "cosine_weights": mean(lambda gradient: gradient["weights"]),
        "cosine_style": mean(lambda gradient: gradient["style"]),
    }


def flat(tree: Any) -> np.ndarray:
    """All entries of a pytree, (P,) float64."""
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def joined(gradient: dict[str, np.ndarray]) -> np.ndarray:
    """All parts of a gradient as one vector."""
    return np.concatenate([gradient[part] for part in PARTS])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the angle between two vectors; 0 where one of them is zero."""
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else 0.0


def norm_ratio(a: np.ndarray, b: np.ndarray) -> float:
    """|a| / |b|, infinite for b = 0."""
    return float(np.linalg.norm(a) / np.linalg.norm(b)) if b.any() else float("inf")
