"""Adaptation curves during a training: losses of styles that it does not train with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import numpy as np
import optax

from metastyle_jax.data import resizing
from metastyle_jax.data.images import as_float
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.data.sources import open_source
from metastyle_jax.metalearning import plain_adaptation
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.reporting import training_page
from metastyle_jax.runtime import compilation
from metastyle_jax.settings.schema import Settings

REPORTED = (0, 10, 25, 50, 100, 200)  # steps, beside the last one


def pictures(config: Settings) -> Batch:
    """The validation styles and contents, evenly spread over their sources, as central squares.

    Raises:
      UserError: one of them cannot be read.
    """
    chosen, size = config.validation, config.data.image_size

    def read(kind: Literal["content", "style"], setting: str, count: int) -> np.ndarray:
        source = open_source(setting, kind, image_size=size, data_dir=config.data.tfds_dir or None)
        return _squares(source, count, size)

    contents = read("content", chosen.contents or config.data.content, config.batch.contents)
    styles = read("style", chosen.styles, chosen.count)
    return Batch(styles=styles, support=contents, query=contents)


def _squares(source: ImageSource, count: int, size: int) -> np.ndarray:
    rows = range(0, len(source), max(1, len(source) // count))[:count]
    return np.stack([as_float(resizing.center_crop_resized(source[row], size)) for row in rows])


def curves(
    config: Settings, task: StyleTask, batch: Batch
) -> Callable[[MetaParameters], dict[str, float]]:
    """A function: parameters -> mean loss over the styles after so many adaptation steps.

    Args:
      config: of the training.
      task: what the network is asked to do.
      batch: of `pictures`.
    """
    optimizer = optax.adam(config.validation.learning_rate)

    @compilation.jit
    def prepare(params: MetaParameters, batch: Batch, task: StyleTask):
        return plain_adaptation.prepare(params, batch, task, optimizer)

    @compilation.jit
    def step(params: MetaParameters, styles, opt_state, data):
        return plain_adaptation.step(params, styles, opt_state, data, optimizer)

    last = config.validation.steps

    def measure(params: MetaParameters) -> dict[str, float]:
        params = jax.device_put(params)  # once, not at every step
        styles, opt_state, data = prepare(params, batch, task)
        found: dict[str, float] = {}
        for number in range(last + 1):
            styles, opt_state, losses = step(params, styles, opt_state, data)
            if number in REPORTED or number == last:
                found[f"{training_page.VALIDATION}{number}"] = float(jax.device_get(losses).mean())
        return found

    return measure
