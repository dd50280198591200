"""Loss along adaptation from several initializations, for docs/results/training.md.

    python benchmarks/adaptation_curves.py --start meta=runs/small --start random=random \
        --styles ../shared/images/style/val --contents ../shared/images/content/val \
        --training-contents ../shared/images/content/train \
        --features vgg16 --out runs/curves

For each of `--count` styles (spread evenly over the folder) and each start: Adam on the norm
parameters and on all parameters; the loss is the mean over center crops of all contents. `random`
with all parameters goes on to 1,000 and 2,000 steps: a network trained from scratch. What was
measured is kept in OUT/curves.json after each curve, so a stopped run continues.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import jax
import numpy as np
import picture_choice

from metastyle_jax.adaptation import service
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image, write_png
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.features import registry
from metastyle_jax.networks import stylization_network
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.stylization import stylizer
from metastyle_jax.stylization.stylizer import Stylizer

STEPS = (0, 10, 50, 100, 200)
SCRATCH_STEPS = (0, 10, 50, 100, 200, 1000, 2000)
SHEET_CONTENTS = 2


def main() -> None:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "curves.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    starts = dict(start.split("=", 1) for start in args.start)
    trained = args.objective or next(spec for spec in starts.values() if spec != "random")
    objective = provenance.recorded_objective(initialization.load(trained).settings)
    features = registry.load(args.features, objective.layers)
    contents = np.stack(
        [
            center_crop_resized(read_image(file), args.size)
            for file in list_images(args.contents, "content folder")
        ]
    )
    files = list_images(args.styles, "style folder")
    for style in picture_choice.spread(files, args.count):
        for name, spec in starts.items():
            for parameters in args.moves.split(","):
                key = f"{style.stem}/{name}/{parameters}"
                if key in results:
                    continue
                results[key] = curve(
                    args, objective, features, contents, style, name, spec, parameters
                )
                with atomic_path(path) as temporary:
                    Path(temporary).write_text(json.dumps(results, indent=1))
    print(markdown(results, starts))
    (args.out / "curves.md").write_text(markdown(results, starts))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", action="append", required=True, help="NAME=random|WORKDIR|FILE")
    parser.add_argument("--objective", help="initialization whose objective judges; default: first")
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--contents", type=Path, required=True)
    parser.add_argument("--training-contents", type=Path, required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--moves", default="norm,all", help="norm, all or both: which curves")
    parser.add_argument("--count", type=int, default=5, help="styles")
    parser.add_argument("--last", type=int, default=2000, help="no curve goes beyond this step")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--norm-rate", type=float, default=1e-2, help="Adam, norm parameters")
    parser.add_argument("--all-rate", type=float, default=1e-3, help="Adam, all parameters")
    return parser.parse_args()


def curve(args, objective, features, contents, style, name, spec, parameters) -> dict:
    """{"loss", "content", "style": {steps: mean over contents}, "seconds": ...}"""
    if spec == "random":
        beginning = Stylizer(**stylization_network.init(jax.random.key(0)))
    else:
        beginning = stylizer.from_initialization(initialization.load(spec))
    scratch = spec == "random" and parameters == "all"
    steps = [step for step in (SCRATCH_STEPS if scratch else STEPS) if step <= args.last]
    image = center_crop_resized(read_image(style), args.size)
    start = service.Start(beginning, objective, features)
    losses = service.losses_over(start, image, contents)
    measured: dict[str, dict[int, float]] = {"loss": {}, "content": {}, "style": {}}

    def measure(step, reached, metrics=None, seconds=0.0):
        if step not in steps:
            return
        for part, value in losses(reached).items():
            measured[part][step] = value
        rows = [[picture, image, reached(picture)] for picture in contents[:SHEET_CONTENTS]]
        sheet = contact_sheet(rows, cell=args.size)
        write_png(args.out / f"{style.stem}_{name}_{parameters}_{step:04d}.png", sheet)
        print(f"{style.stem} {name} {parameters} {step}: {measured['loss'][step]:.4f}", flush=True)

    measure(0, start.stylizer)
    options = service.Options(
        steps=max(steps),
        learning_rate=args.norm_rate if parameters == "norm" else args.all_rate,
        parameters=parameters,
        size=args.size,
        batch=args.batch,
    )
    source = FolderSource(args.training_contents, "content folder")
    result = service.adapt(start, image, source, options, on_step=measure)
    return {**measured, "seconds": result.seconds}


def markdown(results: dict, starts: dict[str, str]) -> str:
    """A table of mean losses over the styles."""
    lines = [
        f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}",
        "",
        "| start | moves | " + " | ".join(str(step) for step in SCRATCH_STEPS) + " |",
        "|---|---|" + "---|" * len(SCRATCH_STEPS),
    ]
    for name in starts:
        for parameters in ("norm", "all"):
            curves = [
                {int(step): loss for step, loss in value["loss"].items()}
                for key, value in results.items()
                if key.endswith(f"/{name}/{parameters}")
            ]
            cells = [mean_cell([c[step] for c in curves if step in c]) for step in SCRATCH_STEPS]
            if curves:
                lines.append(f"| {name} | {parameters} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mean_cell(values: list[float]) -> str:
    """The mean and, in brackets, over how many styles."""
    return f"{np.mean(values):.3f} ({len(values)})" if values else ""


if __name__ == "__main__":
    main()
