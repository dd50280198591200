"""Does an inner loop pay? Trainings that differ in it alone, then adaptation to styles never seen.

    taskset -c 1 python benchmarks/inner_loops.py --content=content/train --style=style/train \
        --val-content=content/val --val-style=style/val --out=runs/inner_loops

All begin with the weights of one initialization and go on for the same time (`--seconds` of steps,
compilation not counted), at a few seeds. Saved are the state after as many steps as the slowest one
makes (equal steps) and the last one (equal time). Each is then adapted with Adam on the norm
parameters. The table has means over seeds and styles with the standard error over seeds.

Every training and every curve is kept in OUT, so a run that is stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import picture_choice
import result_files

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.features import registry
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization
from metastyle_jax.storage.atomic import atomic_path

ROOT = Path(__file__).resolve().parents[1]
# settings of each training beside those that all share
METHODS = {
    "joint": {"inner.steps": 0},
    "predicted": {"inner.steps": 0, "model.predictor": 128},
    "first order, T = 1": {"inner.steps": 1, "outer.estimator": "first_order"},
    "second order, T = 1": {"inner.steps": 1},
    "first order, T = 3": {"inner.steps": 3, "outer.estimator": "first_order"},
    "second order, T = 3": {"inner.steps": 3},
    "predicted, second order, T = 1": {"inner.steps": 1, "model.predictor": 128},
}
SLOWEST = "second order, T = 3"
SHARED = {
    "data.image_size": 96,
    "batch.styles": 2,
    "objective.style_layers": "('relu1_2','relu2_2','relu3_3','relu4_3')",
    "outer.learning_rate": 1e-4,
    "outer.warmup": 20,
    "log.every": 10,
    "log.sheet_every": 0,
    "checkpoint.keep": 100,
}
ADAPTED = (0, 25, 100, 200)  # steps
TRIAL = 12  # steps that a method is timed with
_RATE = re.compile(r"\| ([0-9.e+-]+) steps/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("content", "style", "val-content", "val-style"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="embedded")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--styles", type=int, default=4)
    parser.add_argument("--contents", type=int, default=8)
    parser.add_argument("--methods", default="", help="names with ';', default: all")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in args.methods.split(";") if name] or list(METHODS)
    rates = {name: seconds_per_step(args, name) for name in dict.fromkeys([*names, SLOWEST])}
    common = max(1, int(args.seconds / rates[SLOWEST]))
    for seed in range(args.seeds):
        for name in names:
            # a whole number of the common steps, so that a checkpoint is made there
            steps = common * max(1, round(args.seconds / rates[name] / common))
            workdir = args.out / slug(name) / f"seed_{seed}"
            train(args, name, workdir, seed, steps, common)
            for step in dict.fromkeys((common, steps)):
                adapt(args, name, workdir, step)
        report(args, names, rates, common)


def slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def kept(path: Path, make: Any) -> Any:
    """What `make` returned, from a file if it was made before."""
    if not path.exists():
        value = make()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(value))
    return json.loads(path.read_text())


def flags(args: argparse.Namespace, name: str, **more: Any) -> list[str]:
    settings = SHARED | METHODS[name] | more
    settings |= {"data.content": args.content, "data.style": args.style, "model.init": args.init}
    settings |= {"model.predictor": settings.get("model.predictor", 0)}
    return [f"--config.{key}={value}" for key, value in settings.items()]


def seconds_per_step(args: argparse.Namespace, name: str) -> float:
    workdir = args.out / slug(name) / "trial"

    def measure() -> float:
        text = run(args, workdir, flags(args, name, **{"outer.steps": TRIAL, "log.every": 2}))
        return 1 / float(_RATE.findall(text)[-1])

    return kept(args.out / f"{slug(name)}_rate.json", measure)


def train(
    args: argparse.Namespace, name: str, workdir: Path, seed: int, steps: int, common: int
) -> None:
    changes = {"outer.steps": steps, "seed": seed, "checkpoint.every": common}
    kept(
        workdir.with_suffix(".json"),
        lambda: len(run(args, workdir, flags(args, name, **changes))),
    )


def run(args: argparse.Namespace, workdir: Path, settings: list[str]) -> str:
    """Train, or go on, and return what was printed."""
    command = [sys.executable, "train.py", "--config=configs/embedded.py", f"--workdir={workdir}"]
    resume = ["--resume"] if (workdir / "checkpoints").is_dir() else []
    done = subprocess.run(
        [*command, *settings, *resume], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return done.stdout + done.stderr


def adapt(args: argparse.Namespace, name: str, workdir: Path, step: int) -> None:
    files = list_images(args.val_style, "style folder")
    contents = [
        center_crop_resized(read_image(file), SHARED["data.image_size"])
        for file in list_images(args.val_content, "content folder")[: args.contents]
    ]
    for file in picture_choice.spread(files, args.styles):
        kept(
            workdir.parent / f"{workdir.name}_{step}_{file.stem}.json",
            lambda file=file: curve(args, f"{workdir}@{step}", file, np.stack(contents)),
        )
    print(f"{name} {workdir.name} step {step} adapted", flush=True)


def curve(
    args: argparse.Namespace, spec: str, file: Path, contents: np.ndarray
) -> dict[int, float]:
    """Loss after each of `ADAPTED` steps."""
    init = initialization.load(spec)
    objective = provenance.recorded_objective(init.settings)
    image = center_crop_resized(read_image(file), 2 * SHARED["data.image_size"])
    features = registry.load("vgg16", objective.layers, pooling="average")
    start = service.Start(starting_style.stylizer_at_start(init, image), objective, features)
    losses = service.losses_over(start, image, contents)
    measured = {0: losses(start.stylizer)["loss"]}

    def measure(step: int, reached: Any, *_: Any) -> None:
        if step in ADAPTED:
            measured[step] = losses(reached)["loss"]

    size = SHARED["data.image_size"]
    options = service.Options(
        steps=max(ADAPTED), learning_rate=1e-2, parameters="norm", size=size, batch=1
    )
    service.adapt(start, image, FolderSource(args.content, "c"), options, on_step=measure)
    return measured


def report(
    args: argparse.Namespace, names: list[str], rates: dict[str, float], common: int
) -> None:
    lines = [
        result_files.origin(),
        "",
        "| trained with | s/step | stopped at equal | steps | "
        + " | ".join(f"{step}" for step in ADAPTED)
        + " |",
        "|---" * (4 + len(ADAPTED)) + "|",
    ]
    for name in names:
        steps = common * max(1, round(args.seconds / rates[name] / common))
        for kind, step in (("steps", common), ("time", steps)):
            values = [
                [
                    json.loads(path.read_text())[str(at)]
                    for path in sorted((args.out / slug(name)).glob(f"seed_{seed}_{step}_*.json"))
                    for at in ADAPTED
                ]
                for seed in range(args.seeds)
            ]
            seeds = [np.reshape(each, (-1, len(ADAPTED))).mean(axis=0) for each in values if each]
            mean, error = np.mean(seeds, axis=0), np.std(seeds, axis=0, ddof=min(1, len(seeds) - 1))
            error /= np.sqrt(len(seeds))
            cells = [f"{m:.3f} +- {e:.3f}" for m, e in zip(mean, error, strict=True)]
            lines.append(f"| {name} | {rates[name]:.2f} | {kind} | {step} | {' | '.join(cells)} |")
    (args.out / "inner_loops.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
