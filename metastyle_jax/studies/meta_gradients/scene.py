"""Where a study measures: parameters, feature weights and batches of real images."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from metastyle_jax import bilevel
from metastyle_jax.data import pipeline
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import style_tasks
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.settings import configuration
from metastyle_jax.storage import initialization
from metastyle_jax.training.program import load_network

RANDOM = "random"


class Scene(NamedTuple):
    """What a gradient is measured on.

    Attributes:
      params: `{"weights": ..., "style": ...}`.
      network: the feature network.
      batches: see `outer_step.train_step`.
      step: () int32, the outer step that schedules see: the first one after the warm-ups.
    """

    params: dict[str, Any]
    network: FeatureNetwork
    batches: list[dict[str, np.ndarray]]
    step: jax.Array


def open_scene(
    config: ml_collections.ConfigDict, init: str, *, batches: int, styles: int | None = None
) -> Scene:
    """The first `batches` batches that a training with `config` sees, and where it starts.

    Args:
      config: of a training.
      init: "random", the start of that training; or what `initialization.load` takes.
      batches: how many.
      styles: per batch; None for those of `config`.

    Raises:
      UserError: images, weights or the initialisation cannot be loaded.
    """
    stream = pipeline.batches(
        source(config, "content"),
        source(config, "style"),
        image_size=config.data.image_size,
        styles=styles or config.batch.styles,
        contents=config.batch.contents,
        seed=config.seed,
        content_max_scale=config.data.max_scale,
        style_max_scale=config.data.max_scale,
        min_scale=config.data.min_scale,
        threads=0,
    )
    return Scene(
        load_params(config, init),
        load_network(config),
        list(itertools.islice(stream, batches)),
        jnp.asarray(max(config.outer.style_warmup, config.outer.multi_step), jnp.int32),
    )


def source(
    config: ml_collections.ConfigDict, kind: Literal["content", "style"]
) -> pipeline.ImageSource:
    """The images of `config.data.content` or `config.data.style`."""
    return open_source(
        config.data[kind],
        kind,
        image_size=config.data.image_size,
        data_dir=config.data.tfds_dir or None,
    )


def load_params(config: ml_collections.ConfigDict, init: str) -> dict[str, Any]:
    """`{"weights": ..., "style": ...}` of `init`, of the network that `config` describes."""
    template = configuration.init_params(config, jax.random.key(config.seed))
    template = {name: template[name] for name in ("weights", "style")}
    if init == RANDOM:
        return template
    params = initialization.load(init).params
    shapes = [jax.tree.map(np.shape, tree) for tree in (template, params)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{init} holds another network than config.model describes: set config.model.width, "
            "config.model.residual_blocks and config.model.blur to those of its training"
        )
    return jax.tree.map(jnp.asarray, params)


def variant(config: ml_collections.ConfigDict, **changes: Any) -> ml_collections.ConfigDict:
    """A copy of `config` with settings changed: `variant(config, **{"inner.steps": 3})`.

    Raises:
      UserError: the settings do not go together.
    """
    copy = configuration.changed(config, changes)
    configuration.check(copy)
    return copy


def with_estimator(
    config: ml_collections.ConfigDict, estimator: str, steps: int
) -> style_tasks.MetaProblem:
    """The bilevel problem of `config` with another estimator and number of inner steps."""
    return configuration.make_problem(
        variant(config, **{"outer.estimator": estimator, "inner.steps": steps})
    )


def plain_problem(
    config: ml_collections.ConfigDict, estimator: bilevel.Estimator
) -> style_tasks.MetaProblem:
    """One inner step, always taken, and the loss after it: what a sweep over rates compares."""
    return dataclasses.replace(
        configuration.make_problem(config),
        steps=1,
        random_steps=False,
        multi_step=0,
        style_warmup=0,
        estimator=estimator,
    )
