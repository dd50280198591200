"""What training runs: the feature networks and the compiled outer step of a configuration."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import optax

from metastyle_jax import bilevel
from metastyle_jax.data import device_cache
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Axes
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import feature_network, vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.networks.vgg import Pooling
from metastyle_jax.runtime import processes, sharding
from metastyle_jax.settings import construction, provenance, schema
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import training_pictures


def pick_devices(
    config: Settings, available: list[sharding.Device] | None = None
) -> list[sharding.Device]:
    """The devices that `config.parallel.devices` asks for, of all processes.

    Args:
      config: settings.
      available: in order; None for those at hand.

    Raises:
      UserError: there are fewer devices, they cannot share a batch, or a process would have none.
    """
    available = available or sharding.in_order(jax.devices())
    count = config.parallel.devices or len(available)
    if count > len(available):
        raise UserError(
            f"config.parallel.devices={count}, but there are only {len(available)}: use 0 for all"
        )
    if count < len(available) and processes.several():
        raise UserError(
            f"config.parallel.devices={count}, but {jax.process_count()} processes have "
            f"{len(available)} devices: use 0 for all"
        )
    parts = sharding.layout(config.batch.styles, config.batch.contents, count)
    if parts.contents > 1 and config.outer.estimator == "implicit":
        raise UserError(
            f"config.outer.estimator=implicit needs all contents on each of {count} devices, but "
            f"there are {config.batch.styles} styles: use a multiple of {count} styles"
        )
    return available[:count]


def load_network(config: Settings) -> FeatureNetwork:
    """The feature network of the losses that `config` describes.

    Raises:
      UserError: it cannot be loaded.
    """
    spec, pooling, dtype = _network_settings(config)
    return registry.load(spec, _layers(config), pooling=pooling, dtype=dtype)


def load_task(config: Settings) -> StyleTask:
    """The task of `config` with its feature networks.

    Raises:
      UserError: one of them cannot be loaded.
    """
    predictor_network = None
    if spec := construction.predictor_features(config):
        predictor_network = registry.load(spec, config.objective.style_layers)
    return construction.make_task(config, load_network(config), predictor_network)


def task_shapes(config: Settings) -> StyleTask:
    """The task with shapes in the place of the weights of feature networks; no file is read."""
    spec, pooling, dtype = _network_settings(config)
    architecture, _ = registry.parse(spec)
    network = feature_network.shapes(architecture, _layers(config), pooling=pooling, dtype=dtype)
    predictor_network = None
    if spec := construction.predictor_features(config):
        architecture, _ = registry.parse(spec)
        predictor_network = feature_network.shapes(
            architecture, config.objective.style_layers, pooling=vgg.POOLING[architecture]
        )
    return construction.make_task(config, network, predictor_network)


def _network_settings(config: Settings) -> tuple[str, Pooling, str | None]:
    return (
        *provenance.recorded_features(schema.flatten(config)),
        construction.dtype_of(config.features.dtype),
    )


def _layers(config: Settings) -> tuple[str, ...]:
    return construction.make_objective(config).layers


def wrap_steps(
    config: Settings,
    optimizer: optax.GradientTransformation,
    devices: list[sharding.Device],
) -> tuple[sharding.Parallel, sharding.Parallel]:
    """Two outer steps: for the first `config.outer.first_order_steps` steps, and for the others.

    They are two programs, because XLA:CPU has no fast convolutions inside conditionals.
    """
    loop = construction.make_inner_loop(config, devices[0].platform)
    cheap = dataclasses.replace(loop, estimator=bilevel.first_order)
    parts = sharding.layout(config.batch.styles, config.batch.contents, len(devices))

    def wrap(loop: InnerLoop) -> sharding.Parallel:
        step = functools.partial(
            outer_step.train_step,
            loop=loop,
            schedule=construction.make_schedule(config),
            outer_optimizer=optimizer,
            axes=parts.axes,
            combine=config.outer.combine,
        )
        cached = bool(config.data.cache)
        return sharding.parallelize(
            _drawing(config, step, parts.axes) if cached else step,
            kind=config.parallel.kind,
            devices=devices,
            parts=parts,
            cached=cached,
        )

    return wrap(cheap), wrap(loop)


def _drawing(config: Settings, step: Callable[..., Any], axes: Axes) -> Callable[..., Any]:
    """The step of cached pictures in the place of a batch."""

    def draw_and_step(
        state: outer_step.TrainState, caches: device_cache.Caches, task: StyleTask
    ) -> Any:
        batch = device_cache.draw(
            caches,
            state.step,
            counts=(config.batch.styles, config.batch.contents),
            crop=training_pictures.crop(config),
            seed=config.seed,
            axes=axes,
        )
        return step(state, batch, task)

    return draw_and_step
