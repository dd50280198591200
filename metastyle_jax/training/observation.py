"""What is looked at beside the loss while a training runs: picture sheets and adaptation curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax

from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.structures import MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.reporting import training_page
from metastyle_jax.runtime.run_log import RunLog
from metastyle_jax.settings import provenance, schema
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import progress_sheet, training_pictures, validation

SHEET_SEED = 1_000_003  # added to the seed of the run: the sheet shows one batch of another order

_Look = Callable[[RunLog, int, MetaParameters], None]


def observer(
    config: Settings, task: StyleTask, sources: dict[str, ImageSource]
) -> Callable[[RunLog, int, outer_step.TrainState], None]:
    """A function to call after every step: (log, number of the step, state) -> writes what is due.

    Args:
      config: of the training.
      task: what the network is asked to do.
      sources: of the pictures of the training.

    Raises:
      UserError: the pictures of the validation cannot be read.
    """
    looks: list[tuple[int, _Look]] = []
    if every := config.log.sheet_every:
        looks.append((every, _sheets(config, task, sources)))
    if config.validation.styles:
        looks.append((config.validation.every, _curves(config, task)))

    def observe(log: RunLog, step: int, state: outer_step.TrainState) -> None:
        last = step == config.outer.steps
        due = [look for every, look in looks if step % every == 0 or last]
        if due:
            params = jax.device_get(state.params)
            for look in due:
                look(log, step, params)
            log.start_clock(step)

    return observe


class MeanLoss:
    """The mean outer loss over the steps since it was last taken."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step."""
        self._sum, self._count = self._sum + metrics["outer_loss"], self._count + 1

    def take(self) -> float | None:
        """The mean; None of no steps. Begins anew."""
        mean = self._sum / self._count if self._count else None
        self._sum, self._count = 0.0, 0
        return mean


def _sheets(config: Settings, task: StyleTask, sources: dict[str, ImageSource]) -> _Look:
    batch = next(training_pictures.batches(config, sources, 0, config.seed + SHEET_SEED))
    draw = progress_sheet.drawer(config, task, batch)

    def look(log: RunLog, step: int, params: MetaParameters) -> None:
        log.sheet(step, draw(params, step))

    return look


def _curves(config: Settings, task: StyleTask) -> _Look:
    # what an adaptation minimizes
    objective = provenance.recorded_objective(schema.flatten(config))
    task = dataclasses.replace(task, objective=objective)
    measure = validation.curves(config, task, validation.pictures(config))

    def look(log: RunLog, step: int, params: MetaParameters) -> None:
        found = measure(params)
        curve = " ".join(
            f"{name.removeprefix(training_page.VALIDATION)}: {loss:.4g}"
            for name, loss in found.items()
        )
        log.validation(step, found, f"loss of validation styles after adaptation steps {curve}")

    return look
