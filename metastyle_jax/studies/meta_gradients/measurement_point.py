"""Where a study measures gradients: parameters, feature network and batches of images."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import bilevel
from metastyle_jax.data import pipeline
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.settings import configuration, construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage import initialization
from metastyle_jax.training import training_pictures
from metastyle_jax.training.program import load_network

RANDOM = "random"


class MeasurementPoint(NamedTuple):
    """What a gradient is measured on.

    Attributes:
      params: weights and style.
      task: objective and feature network.
      batches: of real images.
      step: () int32, the outer step that schedules see: the first one after the warm-ups.
    """

    params: MetaParameters
    task: StyleTask
    batches: list[Batch]
    step: jax.Array


def load_point(
    config: Settings, init: str, *, batches: int, styles: int | None = None
) -> MeasurementPoint:
    """The first `batches` batches that a training with `config` sees, and where it starts.

    Args:
      config: of a training.
      init: "random", the start of that training; or what `initialization.load` takes.
      batches: how many.
      styles: per batch; None for those of `config`.

    Raises:
      UserError: images, weights or the initialization cannot be loaded.
    """
    crop = training_pictures.crop(config)
    stream = pipeline.batches(
        training_pictures.source_of(config, "content"),
        training_pictures.source_of(config, "style"),
        styles=styles or config.batch.styles,
        contents=config.batch.contents,
        content_crop=crop,
        style_crop=crop,
        order=pipeline.Order(config.seed),
        reading=pipeline.Reading(threads=0),
    )
    return MeasurementPoint(
        load_params(config, init),
        construction.make_task(config, load_network(config)),
        list(itertools.islice(stream, batches)),
        jnp.asarray(max(config.outer.style_warmup, config.outer.multi_step), jnp.int32),
    )


def load_params(config: Settings, init: str) -> MetaParameters:
    """Weights and style of `init`, of the network that `config` describes."""
    template = construction.init_params(config, jax.random.key(config.seed))
    template = MetaParameters(**template.network)
    if init == RANDOM:
        return template
    params = MetaParameters(**initialization.load(init).params)
    shapes = [jax.tree.map(np.shape, tree) for tree in (template, params)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{init} holds another network than config.model describes: set config.model.width, "
            "config.model.residual_blocks and config.model.blur to those of its training"
        )
    return jax.tree.map(jnp.asarray, params)


def variant(config: Settings, **changes: Any) -> Settings:
    """A copy of `config` with settings changed: `variant(config, **{"inner.steps": 3})`.

    Raises:
      UserError: the settings do not go together.
    """
    return configuration.changed(config, changes)


def loop_with_estimator(config: Settings, estimator: str, steps: int) -> InnerLoop:
    """The inner loop of `config` with another estimator and T, without learned rates."""
    changed = variant(config, **{"outer.estimator": estimator, "inner.steps": steps})
    loop = construction.make_inner_loop(changed)
    optimizer = loop.optimizer
    return dataclasses.replace(loop, optimizer=lambda step, rates: optimizer(step, None))


def one_step_loop(config: Settings, estimator: bilevel.Estimator) -> InnerLoop:
    """The inner loop of `config` with one step: what a sweep over rates compares."""
    return dataclasses.replace(construction.make_inner_loop(config), steps=1, estimator=estimator)
