"""Training of the distilled feature network: `train_features(config, workdir)`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.data import pipeline
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry, weight_files
from metastyle_jax.features.training import distillation_step, drawn_pictures, student
from metastyle_jax.features.training.distillation_step import DistillationState
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime.finite_watch import FiniteWatch
from metastyle_jax.runtime.interrupts import StopRequests, stop_requests
from metastyle_jax.runtime.run_log import RunLog
from metastyle_jax.runtime.training_loop import Session, Steps, run_steps
from metastyle_jax.settings import ranges, resuming, schema
from metastyle_jax.storage import checkpoint, checkpoint_reading, home_folder, safetensors_file
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.storage.folder_lock import locked

_LOG = logging.getLogger(__name__)

# an `ml_collections.ConfigDict`, as `schema.flatten` reads it: nothing declares its attributes
Config = Any

FIRST_BATCHES = 4  # that the scales of channels are measured on
MINIMUM = {
    "seed": 0,
    "data.image_size": 32,
    "data.max_scale": 1,
    "data.threads": 0,
    "batch.contents": 1,
    "batch.styles": 1,
    "batch.distorted": 0,
    "batch.drawn": 1,
    "drawing_steps": 1,
    "gram_weight": 0,
    "optimizer.learning_rate": 0,
    "optimizer.steps": 1,
    "optimizer.warmup": 0,
    "log.every": 1,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
}


def train_features(config: Config, workdir: str | Path, *, resume: bool = False) -> Path:
    """Train as `config` says; everything is written below `workdir`.

    Args:
      config: a `ConfigDict`, see `configs/distilled_features.py`.
      workdir: made if needed; gets `checkpoints/`, `metrics.jsonl`, `tensorboard/` and
        `distilled.safetensors`, the network in float16, or what `config.architecture` says.
      resume: continue from the newest intact checkpoint; starts from the beginning if there is
        none.

    Returns:
      The file of the network.

    Raises:
      UserError: a setting, a folder or a file cannot be used; another process writes to `workdir`;
        a loss is not finite.
      KeyboardInterrupt: on SIGINT or SIGTERM, after a checkpoint was written.
    """
    _check(config)
    workdir = home_folder.expanded(workdir)
    teacher = registry.load(config.teacher, student.LAYERS, pooling=student.POOLING)
    sources = _open_sources(config)
    recorded = resuming.recorded(config, sources)
    with (
        stop_requests() as stop,
        locked(workdir),
        checkpoint.Checkpoints(
            workdir / checkpoint_reading.DIRECTORY_NAME,
            keep=config.checkpoint.keep,
            configuration=recorded,
        ) as checkpoints,
    ):
        first = _batches(config, sources, 0)  # resumed or not
        pairs = [next(first) for _ in range(max(FIRST_BATCHES, config.batch.drawn))]
        images = np.concatenate([each for pair in pairs[:FIRST_BATCHES] for each in pair])
        scales = student.scales(teacher.extract(jnp.asarray(images), student.LAYERS))
        state = _initial_state(config, checkpoints, pairs, resume)
        if checkpoints.recorded and (line := resuming.notice(checkpoints.recorded, recorded)):
            _LOG.info(line)
        workdir = prepare_folder(workdir)
        data = _batches(config, sources, int(state.step))
        state = _loop(config, workdir, state, data, (teacher, scales), checkpoints, stop)
    path = workdir / f"{config.architecture}.safetensors"
    network = jax.device_get(student.scaled(state.params, scales))
    arrays = _as_float16(config.architecture, network)
    safetensors_file.write(path, arrays, _metadata(config, teacher))
    _LOG.info(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
    return path


def _check(config: Config) -> None:
    flat = schema.flatten(config)
    needed = (*MINIMUM, "architecture", "data.content", "data.style", "teacher")
    ranges.require(flat, needed, "configs/distilled_features.py")
    ranges.check_minimum(flat, MINIMUM)
    if config.architecture not in student.ARCHITECTURES:
        raise UserError(
            f"config.architecture={config.architecture!r} cannot be trained: give one of "
            f"{', '.join(student.ARCHITECTURES)}"
        )
    if config.batch.distorted > config.batch.styles:
        raise UserError(
            f"config.batch.distorted={config.batch.distorted} is more than the "
            f"{config.batch.styles} of config.batch.styles that are distorted: give a smaller one"
        )


def _rates(config: Config) -> dict[str, float]:
    """The arguments of `distillation_step.make_optimizer`."""
    steps = config.optimizer.steps
    warmup = min(config.optimizer.warmup, steps // 2)
    return {"peak": config.optimizer.learning_rate, "warmup": warmup, "steps": steps}


def _initial_state(
    config: Config,
    checkpoints: checkpoint.Checkpoints,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    resume: bool,
) -> DistillationState:
    params = student.init(jax.random.key(config.seed), config.architecture)
    begun = pairs[: config.batch.drawn]
    contents, styles = (np.stack([pair[kind][0] for pair in begun]) for kind in (0, 1))
    state = DistillationState(
        jnp.zeros((), jnp.int32),
        params,
        distillation_step.make_optimizer(**_rates(config)).init(params),
        drawn_pictures.start(jnp.asarray(contents), jnp.asarray(styles)),
    )
    return checkpoints.start(state, {}, resume=resume)  # the shapes of its arrays decide


def _open_sources(config: Config) -> dict[str, pipeline.ImageSource]:
    kinds: tuple[Literal["content", "style"], ...] = ("content", "style")
    return {
        kind: open_source(config.data[kind], kind, image_size=config.data.image_size)
        for kind in kinds
    }


def _batches(
    config: Config, sources: Mapping[str, pipeline.ImageSource], start_step: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Contents (C, H, W, 3) and styles (S, H, W, 3)."""
    streams = [
        pipeline.crops(
            sources[kind],
            pipeline.Crop(config.data.image_size, max_scale=config.data.max_scale),
            count=count,
            order=pipeline.Order(config.seed, start_step),
            stream=stream,
            reading=pipeline.Reading(config.data.threads),
        )
        for stream, (kind, count) in enumerate(
            (("content", config.batch.contents), ("style", config.batch.styles))
        )
    ]
    return zip(*streams, strict=True)


def _loop(
    config: Config,
    workdir: Path,
    state: DistillationState,
    data: Iterator[tuple[np.ndarray, np.ndarray]],
    teaching: tuple[FeatureNetwork, student.Features],
    checkpoints: checkpoint.Checkpoints,
    stop: StopRequests,
) -> DistillationState:
    start, total = int(state.step), config.optimizer.steps
    optimizer = distillation_step.make_optimizer(**_rates(config))
    options = {
        "gram_weight": config.gram_weight,
        "drawing_steps": config.drawing_steps,
        "distorted": config.batch.distorted,
        "seed": config.seed,
    }
    advice = (
        f"lower config.optimizer.learning_rate (now {config.optimizer.learning_rate:g}) and go on "
        "with --resume"
    )
    watch = FiniteWatch(checkpoints, lambda name, step: advice)
    with RunLog(
        workdir,
        start_step=start,
        total_steps=total,
        images_per_step=sum(config.batch.values()),
        describe=lambda values: " ".join(f"{name} {x:.4g}" for name, x in values.items()),
    ) as log:
        return run_steps(
            state,
            lambda step, state: distillation_step.train_step(
                state, *next(data), *teaching, optimizer=optimizer, **options
            ),
            Steps(start, total, config.log.every, config.checkpoint.every),
            Session(log, checkpoints, watch, stop),
        )


def _as_float16(architecture: str, network: Any) -> dict[str, np.ndarray]:
    """torchvision's key names, OIHW."""
    keys = weight_files.keys_of(architecture, student.LAYERS)
    arrays = {}
    for conv, weight in network.items():
        arrays[f"{keys[conv]}.weight"] = weight["kernel"].transpose(3, 2, 0, 1).astype(np.float16)
        arrays[f"{keys[conv]}.bias"] = weight["bias"].astype(np.float16)
    return arrays


def _metadata(config: Config, teacher: FeatureNetwork) -> Mapping[str, str]:
    """Where files lie on this machine is nobody's business: the teacher's digest says which."""
    settings_of_run = schema.flatten(config)
    for name in ("architecture", "data.content", "data.style", "teacher"):
        del settings_of_run[name]
    return {
        "architecture": config.architecture,
        "origin": "python -m metastyle_jax train-features",
        "settings": json.dumps(settings_of_run),
        "teacher": f"{teacher.architecture} {tree_digest(jax.device_get(teacher.weights))}",
        "license": "Apache-2.0",
    }
