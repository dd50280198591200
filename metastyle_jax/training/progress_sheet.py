"""The picture sheet of a training: one content in several styles, before and after inner steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from metastyle_jax.metalearning import outer_loss
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import construction
from metastyle_jax.settings.schema import Settings

STYLES = 4  # rows of a sheet


# (parameters, outer steps taken) -> (H, W, 3) in [0, 1]
Draw = Callable[[MetaParameters, int], np.ndarray]


def drawer(config: Settings, task: StyleTask, batch: Batch) -> Draw:
    """A function that draws a sheet of content, style and outputs.

    Args:
      config: of the training.
      task: what the network is asked to do.
      batch: the first `STYLES` of its styles are drawn.
    """
    batch = dataclasses.replace(batch, styles=batch.styles[:STYLES])
    if config.model.adjuster:
        return _drawer_of_corners(config, task, batch)
    loop = construction.make_inner_loop(config)

    @compilation.jit
    def outputs(params: MetaParameters, batch: Batch, task: StyleTask, step: jax.Array):
        optimizer = loop.optimizer(step, params.inner_rates)  # at the rate of that step
        return outer_loss.preview(params, batch, task, loop, optimizer)

    titles = _titles(config)

    def draw(params: MetaParameters, step: int) -> np.ndarray:
        before, after = jax.device_get(outputs(params, batch, task, np.int32(step)))
        content = batch.query[0]
        rows = [
            [content, style, *pair]
            for style, *pair in zip(batch.styles, before, after, strict=True)
        ]
        return contact_sheet(rows, column_titles=titles, cell=config.data.image_size)

    return draw


def _drawer_of_corners(config: Settings, task: StyleTask, batch: Batch) -> Draw:
    """As `drawer`, with outputs at the weight 1 of each style layer alone, and of all."""
    layers = config.objective.style_layers
    alphas = np.vstack([np.eye(len(layers)), np.ones((1, len(layers)))]).astype(np.float32)
    outputs = compilation.jit(outer_loss.preview_adjusted)
    titles = ("content", "style", *layers, "all")

    def draw(params: MetaParameters, step: int) -> np.ndarray:
        del step  # there are no inner steps
        drawn = jax.device_get(outputs(params, batch, task, alphas))
        rows = [
            [batch.query[0], style, *each] for style, each in zip(batch.styles, drawn, strict=True)
        ]
        return contact_sheet(rows, column_titles=titles, cell=config.data.image_size)

    return draw


def _titles(config: Settings) -> tuple[str, str, str, str]:
    steps = config.inner.steps
    after = f"{steps} inner step{'s' if steps != 1 else ''}"
    if config.model.predictor:
        after = f"predicted, {after}"
    return ("content", "style", "0 steps", after)
