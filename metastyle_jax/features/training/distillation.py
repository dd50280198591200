"""Training of the compact feature network: `train_features(config, workdir)`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.data import pipeline
from metastyle_jax.data.sources import open_source
from metastyle_jax.features import weight_files
from metastyle_jax.features.training import distillation_step, student, teachers
from metastyle_jax.features.training.distillation_step import DistillationState
from metastyle_jax.runtime.interrupts import FiniteWatch, StopRequests, stop_requests
from metastyle_jax.runtime.run_log import RunLog
from metastyle_jax.runtime.training_loop import Session, Steps, run_steps
from metastyle_jax.settings import ranges, resuming, schema
from metastyle_jax.storage import checkpoint, checkpoint_reading, safetensors_file
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.storage.folder_lock import locked

_LOG = logging.getLogger(__name__)

# an `ml_collections.ConfigDict`, as `schema.flatten` reads it: nothing declares its attributes
Config = Any

FILE = "compact.safetensors"
SCALING_BATCHES = 4  # that the scales of teachers and layers are measured on
MINIMUM = {
    "seed": 0,
    "data.image_size": 32,
    "data.max_scale": 1,
    "data.threads": 0,
    "batch.contents": 0,
    "batch.styles": 1,
    "contrast_weight": 0,
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
      config: a `ConfigDict`, see `configs/compact_features.py`.
      workdir: made if needed; gets `checkpoints/`, `metrics.jsonl`, `tensorboard/` and
        `compact.safetensors`, the network in float16.
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
    workdir = Path(workdir).expanduser()
    teaching = teachers.load(config.teachers)
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
        state = _initial_state(config, checkpoints, teachers.heads(teaching), resume)
        if checkpoints.recorded and (line := resuming.notice(checkpoints.recorded, recorded)):
            _LOG.info(line)
        # what scales are measured on, resumed or not
        first = _batches(config, sources, 0)
        images = np.concatenate([next(first) for _ in range(SCALING_BATCHES)])
        scales = teachers.measure(teaching, images)
        workdir = prepare_folder(workdir)
        data = _batches(config, sources, int(state.step))
        state = _loop(config, workdir, state, data, (teaching, scales), checkpoints, stop)
    network = student.balanced(state.params["network"], images)
    path = workdir / FILE
    safetensors_file.write(path, _as_float16(jax.device_get(network)), _metadata(config, teaching))
    _LOG.info(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")
    return path


def _check(config: Config) -> None:
    flat = schema.flatten(config)
    needed = (*MINIMUM, "data.content", "data.style", "teachers")
    ranges.require(flat, needed, "configs/compact_features.py")
    ranges.check_minimum(flat, MINIMUM)


def _rates(config: Config) -> dict[str, float]:
    """The arguments of `distillation_step.make_optimizer`."""
    steps = config.optimizer.steps
    warmup = min(config.optimizer.warmup, steps // 2)
    return {"peak": config.optimizer.learning_rate, "warmup": warmup, "steps": steps}


def _initial_state(
    config: Config,
    checkpoints: checkpoint.Checkpoints,
    heads: dict[str, tuple[str, int]],
    resume: bool,
) -> DistillationState:
    params = student.init(jax.random.key(config.seed), heads)
    state = DistillationState(
        jnp.zeros((), jnp.int32),
        params,
        distillation_step.make_optimizer(**_rates(config)).init(params),
    )
    return checkpoints.start(state, {}, resume=resume)  # the shapes of its arrays decide


def _open_sources(config: Config) -> dict[str, pipeline.ImageSource]:
    """Those that pictures are drawn from, by kind."""
    counts: dict[Literal["style", "content"], int] = {
        "style": config.batch.styles,
        "content": config.batch.contents,
    }
    return {
        kind: open_source(config.data[kind], kind, image_size=config.data.image_size)
        for kind, count in counts.items()
        if count
    }


def _batches(
    config: Config, sources: Mapping[str, pipeline.ImageSource], start_step: int
) -> Iterator[np.ndarray]:
    """(2 (styles + contents), H, W, 3): two crops of each picture after one another."""
    streams = [
        pipeline.crops(
            sources[kind],
            pipeline.Crop(config.data.image_size, max_scale=config.data.max_scale),
            count=count,
            order=pipeline.Order(config.seed, start_step),
            stream=stream,
            views=2,
            reading=pipeline.Reading(config.data.threads),
        )
        for stream, (kind, count) in enumerate(
            (("style", config.batch.styles), ("content", config.batch.contents))
        )
        if count
    ]
    while True:
        yield np.concatenate([next(stream) for stream in streams])


def _loop(
    config: Config,
    workdir: Path,
    state: DistillationState,
    data: Iterator[np.ndarray],
    teaching: tuple[teachers.Weights, Mapping[str, teachers.Scale]],
    checkpoints: checkpoint.Checkpoints,
    stop: StopRequests,
) -> DistillationState:
    start, total = int(state.step), config.optimizer.steps
    optimizer = distillation_step.make_optimizer(**_rates(config))
    options = {"contrast_weight": config.contrast_weight, "seed": config.seed}
    advice = (
        f"lower config.optimizer.learning_rate (now {config.optimizer.learning_rate:g}) and go on "
        "with --resume"
    )
    watch = FiniteWatch(checkpoints, lambda name, step: advice)
    with RunLog(
        workdir,
        start_step=start,
        total_steps=total,
        images_per_step=3 * (config.batch.styles + config.batch.contents),
        describe=lambda values: " ".join(f"{name} {x:.4g}" for name, x in values.items()),
    ) as log:
        return run_steps(
            state,
            lambda step, state: distillation_step.train_step(
                state, next(data), *teaching, optimizer=optimizer, **options
            ),
            Steps(start, total, config.log.every, config.checkpoint.every),
            Session(log, checkpoints, watch, stop),
        )


def _as_float16(network: Any) -> dict[str, np.ndarray]:
    """torchvision's key names, OIHW."""
    keys = weight_files.torchvision_keys(student.ARCHITECTURE)
    arrays = {}
    for conv, weight in network.items():
        arrays[f"{keys[conv]}.weight"] = weight["kernel"].transpose(3, 2, 0, 1).astype(np.float16)
        arrays[f"{keys[conv]}.bias"] = weight["bias"].astype(np.float16)
    return arrays


def _metadata(config: Config, teaching: teachers.Weights) -> Mapping[str, str]:
    """Where files lie on this machine is nobody's business: the teachers' digests say which."""
    settings_of_run = schema.flatten(config)
    for name in ("data.content", "data.style", "teachers"):
        del settings_of_run[name]
    return {
        "architecture": student.ARCHITECTURE,
        "origin": "python -m metastyle_jax train-features",
        "settings": json.dumps(settings_of_run),
        "teachers": json.dumps({name: tree_digest(each) for name, each in teaching.items()}),
        "license": "Apache-2.0",
    }
