"""Meta-training: `train(config, workdir)` from data to checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.structures import MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import predictor, stylization_network
from metastyle_jax.reporting.wandb_run import WandbRun
from metastyle_jax.runtime import processes, profiling, sharding
from metastyle_jax.runtime.finite_watch import FiniteWatch
from metastyle_jax.runtime.input_watch import InputWatch
from metastyle_jax.runtime.interrupts import StopRequests, stop_requests
from metastyle_jax.runtime.run_log import RunLog
from metastyle_jax.runtime.training_loop import Session, Steps, run_steps
from metastyle_jax.settings import configuration, construction, resuming, schema
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage import checkpoint, checkpoint_reading, home_folder, initialization
from metastyle_jax.storage.atomic import prepare_folder, write_text
from metastyle_jax.storage.folder_lock import locked
from metastyle_jax.training import observation, replay, training_advice, training_pictures
from metastyle_jax.training.program import load_task, pick_devices, wrap_steps
from metastyle_jax.training.training_advice import INPUT_WAIT

_LOG = logging.getLogger(__name__)


def train(
    config: ml_collections.ConfigDict | Settings,
    workdir: str | Path,
    *,
    resume: bool = False,
    profile: profiling.Steps | None = None,
) -> outer_step.TrainState:
    """Meta-train as `config` says; everything is written below `workdir`.

    Args:
      config: see `configs/default.py`.
      workdir: made if needed; gets `checkpoints/`, `config.json`, `metrics.jsonl`, `tensorboard/`,
        `sheets/` and, if images were skipped, `skipped_images.txt`.
      resume: continue from the newest intact checkpoint, bit for bit as if never stopped if the
        settings are the same; a line says which are not. Starts from the beginning if there is
        none.
      profile: steps to write a trace of into `profile/`; None for none.

    Returns:
      The state after the last step.

    Raises:
      UserError: a setting, a folder or a file cannot be used; another process writes to `workdir`;
        the loss or a gradient is not finite.
      KeyboardInterrupt: on SIGINT or SIGTERM, after a checkpoint was written.
    """
    with stop_requests() as stop:
        settings = configuration.read(config)
        return _train(settings, home_folder.expanded(workdir), resume, profile, stop)


def _train(
    config: Settings,
    workdir: Path,
    resume: bool,
    profile: profiling.Steps | None,
    stop: StopRequests,
) -> outer_step.TrainState:
    devices = pick_devices(config)
    sources = training_pictures.open_sources(config)
    task = load_task(config)
    optimizer = construction.make_outer_optimizer(config)
    recorded = resuming.recorded(config, sources)
    main = processes.is_main()
    with (
        locked(workdir) if main else contextlib.nullcontext(),
        checkpoint.Checkpoints(
            workdir / checkpoint_reading.DIRECTORY_NAME,
            keep=config.checkpoint.keep,
            keep_every=config.checkpoint.keep_every,
            keep_best=config.checkpoint.keep_best,
            configuration=recorded,
        ) as checkpoints,
    ):
        state = processes.same_everywhere(_initial_state(config, checkpoints, optimizer, resume))
        if checkpoints.recorded and (line := resuming.notice(checkpoints.recorded, recorded)):
            _LOG.info(line)
        if main:
            _write_json(workdir / "config.json", schema.flatten(config))
        steps = wrap_steps(config, optimizer, devices)
        try:
            return _loop(config, workdir, steps, state, task, sources, checkpoints, profile, stop)
        finally:
            if main:
                training_pictures.list_skipped(workdir, sources)


def _initial_state(
    config: Settings,
    checkpoints: checkpoint.Checkpoints,
    optimizer: Any,
    resume: bool,
) -> outer_step.TrainState:
    params = construction.init_params(config, jax.random.key(config.seed))
    if not processes.is_main():  # gets the state of process 0, which alone need reach the files
        return construction.init_state(config, params, optimizer)
    # a run that goes on has its own parameters; those it began with may be gone
    if config.model.init and not (resume and checkpoints.steps()):
        params = trained_params(config.model.init, params)
    state = construction.init_state(config, params, optimizer)
    return checkpoints.start(state, resuming.fixed(config), resume=resume)


def trained_params(init: str, params: MetaParameters) -> MetaParameters:
    """`params` with weights, style, and what fits of predictor and adjuster of a training.

    These fit if they have as many hidden units and inputs; otherwise new ones begin, at the style
    of that training. Kernels fit with and without blur.

    Args:
      init: a workdir or a parameter file, see `initialization.load`.
      params: new ones, whose shapes count.

    Raises:
      UserError: it cannot be read, or is of another network.
    """
    start = initialization.load(init)
    blur = stylization_network.architecture(params.weights)["blur"]
    weights = stylization_network.with_blur(start.params["weights"], blur)
    loaded = dataclasses.replace(params, weights=weights, style=start.params["style"])
    if not _alike(loaded, params):
        raise UserError(
            f"config.model.init={init!r} is another network: change config.model.width or "
            "config.model.residual_blocks"
        )
    if params.predictor is not None:
        fits = _alike(start.predictor, params.predictor)
        network = start.predictor if fits else predictor.around(params.predictor, loaded.style)
        loaded = dataclasses.replace(loaded, predictor=network)
    if params.adjuster is not None and _alike(start.adjuster, params.adjuster):
        loaded = dataclasses.replace(loaded, adjuster=start.adjuster)
    return jax.tree.map(jnp.asarray, loaded)


def _alike(one: Any, other: Any) -> bool:
    return jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)


def _loop(
    config: Settings,
    workdir: Path,
    steps: tuple[sharding.Parallel, sharding.Parallel],
    state: outer_step.TrainState,
    task: StyleTask,
    sources: dict[str, ImageSource],
    checkpoints: checkpoint.Checkpoints,
    profile: profiling.Steps | None,
    stop: StopRequests,
) -> outer_step.TrainState:
    start, total = int(state.step), config.outer.steps
    profiling.check_steps(profile, start, total)
    _, wrapped = steps
    if config.data.cache:
        data = itertools.repeat(
            training_pictures.cache(config, sources, pick_devices(config), wrapped)
        )
    else:
        shares = wrapped.share(config.batch.styles, config.batch.contents)
        data = training_pictures.batches(config, sources, start, config.seed, shares)
    state, on_devices = wrapped.replicate(state), wrapped.replicate(task)
    first_order_steps = config.outer.first_order_steps
    compiling = (first_order_steps + 1,)  # beside the first step of the session

    waits = InputWatch()

    def take_step(step: int, state: outer_step.TrainState):
        run = steps[step > first_order_steps].step
        batch = waits.get(
            lambda: wrapped.place_batch(next(data), stop.received),
            state.step.is_ready,  # pyright: ignore[reportAttributeAccessIssue]  (not declared)
        )
        return run(state, batch, on_devices)

    numbers = Steps(start, total, config.log.every, config.checkpoint.every, compiling)
    advise = training_advice.not_finite(config)
    if not processes.is_main():
        watch = FiniteWatch(checkpoints, advise)
        return run_steps(state, take_step, numbers, Session(None, checkpoints, watch, stop))
    observe = observation.observer(config, task, sources)
    with (
        RunLog(
            prepare_folder(workdir),
            start_step=start,
            total_steps=total,
            images_per_step=config.batch.styles * config.batch.contents,
            describe=_describe,
            boards=_boards(config, workdir),
        ) as log,
        profiling.traced(take_step, profile, workdir / "profile") as traced,
    ):
        signs = training_advice.Signs(config, log.warn)

        def record_and_advise(metric: str, step: int) -> str:
            try:
                path = replay.record(workdir, config, sources, step, metric)
            except UserError as error:  # the loss that is not finite matters more
                return f"{advise(metric, step)}; {error}"
            return f"{advise(metric, step)}; {path} names its pictures and repeats it"

        losses = observation.MeanLoss()

        def see(step: int, metrics: Mapping[str, float]) -> None:
            signs.look(step, metrics)
            losses.add(metrics)

        watch = FiniteWatch(checkpoints, record_and_advise, see)
        session = Session(
            log, checkpoints, watch, stop, losses.take, training_advice.bottleneck(waits.share)
        )
        return run_steps(state, traced, numbers, session, functools.partial(observe, log))


def _boards(config: Settings, workdir: Path) -> list[WandbRun]:
    if not config.log.wandb:
        return []
    return [WandbRun(config.log.wandb, workdir, schema.flatten(config))]


def _describe(values: Mapping[str, float]) -> str:
    inner = "".join(
        f"inner {values[name]:.4g} " for name in sorted(values) if name.startswith("inner_loss")
    )
    return (
        f"{inner}outer {values['outer_loss']:.4g} "
        f"(content {values['outer_content']:.4g} style {values['outer_style']:.4g}) "
        f"gradient weights {values['gradient_norm_weights']:.3g} "
        f"style {values['gradient_norm_style']:.3g} input wait {values[INPUT_WAIT]:.0%}"
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")
