"""Meta-training against the clock: pictures in device memory, several outer steps per dispatch.

python benchmarks/gpu_train.py --pack .gpu --out OUT --seconds 500 --start params.safetensors

The steps are those of train.py (`metalearning.outer_step.train_step`) with configs/embedded.py, or
with `--config meta_adjustable` that, and the changes of `gpu_train_config.py`; `--set NAME=VALUE`
changes more. Two things differ. Batches
come from `device_pictures.py`. The rate is `outer.learning_rate`, as the configuration warms up and
decays it, until half of the time is over, and falls linearly to 0 from there.

Every minute and at the end OUT gets the files of `training_state.py`, and curves.csv after every
dispatch: means over its steps. `--resume-from OUT` goes on from such files, with the same flags;
then the rate begins at its full height again, so that a lower one may be right.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import device_pictures
import gpu_train_config
import jax
import jax.numpy as jnp
import numpy as np
import optax
import result_files
import training_state

from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.outer_step import TrainState
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import construction, schema
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage import initialization, overwriting
from metastyle_jax.training import meta_training, program
from scripts import export_params

FULL_RATE = 0.5  # of the time
DATA = 1  # apart from the keys of initial parameters
CURVES = "curves.csv"
SHOWN = ("outer_loss", "outer_content", "outer_style")


def main() -> None:
    args = parse()
    begin = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.resume_from is not None:
        args.start = str(args.resume_from / training_state.PARAMS)
    outputs = [args.out / name for name in (training_state.PARAMS, CURVES)]
    overwriting.refuse_overwriting(outputs, [Path(args.start)])
    config = gpu_train_config.make_config(args, initialization.load(args.start))
    state = first_state(args, config)
    pictures = [
        device_pictures.read_tar(args.pack / f"{kind}.tar", config.data.image_size, args.pictures)
        for kind in ("content", "style")
    ]
    task = jax.device_put(program.load_task(config))
    step = compilation.jit(make_dispatch(config, args.per_dispatch), donate_argnums=0)
    read = time.perf_counter()
    compiled = step.lower(state, pictures, task, np.float32(1)).compile()
    now = time.perf_counter()
    print(f"read {read - begin:.1f} s, compiled {now - read:.1f} s", flush=True)
    clock = Clock(now, begin + args.seconds)
    run(args, config, state, lambda state, rate: compiled(state, pictures, task, rate), clock)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, default=Path(".gpu"), help="pictures and VGG-16")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--config", choices=gpu_train_config.CONFIGS, default="embedded")
    parser.add_argument("--start", default=initialization.EMBEDDED, help="a params.safetensors")
    parser.add_argument("--adjuster", metavar="INIT", help="begin with the sliders of another")
    parser.add_argument("--resume-from", type=Path, help="folder of an earlier run's files")
    parser.add_argument("--seconds", type=float, default=500, help="in all, compilation included")
    parser.add_argument("--steps", type=int, default=10**9, help="outer steps at most")
    parser.add_argument("--per-dispatch", type=int, default=20, help="outer steps per dispatch")
    parser.add_argument("--save-every", type=float, default=60, help="seconds")
    parser.add_argument("--inner-steps", type=int, default=0, help="T")
    parser.add_argument("--size", type=int, default=256, help="of the crops, pixels")
    parser.add_argument("--pictures", type=int, help="of each kind at most")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting, such as outer.learning_rate=2e-4; may be repeated",
    )
    return parser.parse_args()


def first_state(args: argparse.Namespace, config: Settings) -> TrainState:
    """Of the start, or of an earlier run."""
    params = construction.init_params(config, jax.random.key(config.seed))
    params = meta_training.trained_params(args.start, params)
    if args.adjuster is not None:
        params = params.replace(adjuster=initialization.load(args.adjuster).adjuster)
    state = construction.init_state(config, params, make_optimizer(config, 1.0))
    if args.resume_from is not None:
        state = training_state.load(args.resume_from, state)
        print(f"goes on from {args.resume_from} at step {int(state.step)}")
    return jax.device_put(state)


def make_optimizer(config: Settings, factor: Any) -> optax.GradientTransformation:
    """The configuration's, with all rates times a number or () array."""
    return optax.chain(construction.make_outer_optimizer(config), optax.scale(factor))


def make_dispatch(config: Settings, steps: int) -> Callable[..., Any]:
    """(state, [contents, styles], task, rate factor) -> state after `steps` steps, metrics."""
    counts, size = (config.batch.styles, config.batch.contents), config.data.image_size
    loop, schedule = construction.make_inner_loop(config), construction.make_schedule(config)

    def dispatch(state: TrainState, pictures: Any, task: Any, factor: jax.Array) -> Any:
        optimizer = make_optimizer(config, factor)
        take = functools.partial(
            outer_step.train_step, loop=loop, outer_optimizer=optimizer, schedule=schedule
        )

        def one(state: TrainState, _: None) -> tuple[TrainState, dict[str, jax.Array]]:
            seed = jax.random.fold_in(jax.random.key(config.seed), DATA)
            key = jax.random.fold_in(seed, state.step)
            return take(state, device_pictures.batch(*pictures, key, counts, size), task)

        state, metrics = jax.lax.scan(one, state, length=steps)
        return state, jax.tree.map(jnp.mean, metrics)

    return dispatch


@dataclasses.dataclass(frozen=True)
class Clock:
    """When the training began, and when it ends: seconds of `time.perf_counter`."""

    begin: float
    end: float

    def factor(self) -> np.float32:
        """Of the rate, now: 1, and in the last part of the time falling to 0."""
        left = (self.end - time.perf_counter()) / max(self.end - self.begin, 1e-9)
        return np.float32(np.clip(left / (1 - FULL_RATE), 0, 1))

    def over(self) -> bool:
        return time.perf_counter() >= self.end


def run(
    args: argparse.Namespace,
    config: Settings,
    state: TrainState,
    dispatch: Callable[[TrainState, np.float32], Any],
    clock: Clock,
) -> None:
    """Dispatches until the time is over.

    Raises:
      UserError: a loss is not finite; the files of the last minute stay.
    """
    (args.out / CURVES).unlink(missing_ok=True)
    first = step = int(state.step)
    saved = shown = time.perf_counter()
    while not clock.over() and step - first < args.steps:
        factor = clock.factor()
        state, metrics = dispatch(state, factor)
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        step += args.per_dispatch
        now = time.perf_counter()
        seconds = now - clock.begin
        row = {"step": step, "seconds": seconds, "rate_factor": float(factor), **values}
        result_files.add_row(args.out / CURVES, row, shlex.join(sys.argv))
        if not np.isfinite(list(values.values())).all():
            raise UserError(f"a loss is not finite before step {step}: lower outer.learning_rate")
        if now - shown > args.save_every / 4:
            shown = now
            print(line(step, seconds, (step - first) / seconds, values), flush=True)
        if now - saved > args.save_every:
            saved = now
            save(args, config, state)
    save(args, config, state)
    print(f"{step - first} steps in {time.perf_counter() - clock.begin:.1f} s", flush=True)


def line(step: int, seconds: float, rate: float, values: dict[str, float]) -> str:
    losses = " ".join(f"{name} {values[name]:.4g}" for name in SHOWN)
    return f"step {step} {seconds:.0f} s {rate:.2f} steps/s {losses}"


def save(args: argparse.Namespace, config: Settings, state: TrainState) -> None:
    step = int(state.step)
    settings = export_params.exported_settings(schema.flatten(config), step)
    settings["outer.steps"] = step
    training_state.save(args.out, state, settings, "benchmarks/gpu_train.py")


if __name__ == "__main__":
    with exit_cleanly():
        main()
