"""How many steps does a new style need? N-styles needs 5,000 (Dumoulin et al. 2017, figure 6).

    taskset -c 1 python benchmarks/new_style.py --styles=style/val --contents=content/val \
        --training-contents=content/train --out=runs/new_style

The protocol of the paper: the convolutions are trained and stay, scale and bias of the norms are
learned for a new style from the neutral ones, 5,000 steps of Adam. Against it the same network from
the predicted style. The table says after how many steps that has the loss which the first has after
each number of steps. Every curve is kept in OUT.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import picture_choice
import result_files

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image
from metastyle_jax.data.resizing import resize_short_side
from metastyle_jax.storage import initialization
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.stylization import stylizer
from metastyle_jax.stylization.stylizer import Stylizer

AT = (0, 5, 10, 25, 50, 100, 200, 400, 800, 1500, 3000, 5000)  # steps
SHORT = 400  # steps from the predicted start
SMOOTHED = 0.002  # of the loss: differences below are none


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("styles", "contents", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--training-contents", required=True)
    parser.add_argument("--init", default="embedded")
    parser.add_argument("--style-count", type=int, default=3)
    parser.add_argument("--content-count", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = picture_choice.spread(list_images(args.styles, "style folder"), args.style_count)
    curves = {
        file.stem: (curve(args, file, "neutral"), curve(args, file, "predicted")) for file in files
    }
    report(args, curves)


def curve(args: argparse.Namespace, file: Path, kind: str) -> dict[int, float]:
    """Loss over the contents after each of `AT` steps."""
    path = args.out / f"{file.stem}_{kind}.json"
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(measure(args, file, kind)))
    return {int(step): loss for step, loss in json.loads(path.read_text()).items()}


def measure(args: argparse.Namespace, file: Path, kind: str) -> dict[int, float]:
    init = initialization.load(args.init)
    style = resize_short_side(read_image(file), 2 * args.size)
    contents = picture_choice.squares(
        args.contents, "content folder", args.content_count, args.size
    )
    start = service.start_from(stylizer.from_initialization(init))
    start = service.Start(
        starting_style.stylizer_at_start(init, style, kind), start.objective, start.network
    )
    losses = service.losses_over(start, style, contents)
    measured = {0: losses(start.stylizer)["loss"]}

    def look(step: int, reached: Stylizer, *_: object) -> None:
        if step in AT:
            measured[step] = losses(reached)["loss"]
            print(f"{file.stem} {kind} {step}: {measured[step]:.4f}", flush=True)

    steps = AT[-1] if kind == "neutral" else SHORT
    options = service.Options(steps=steps, learning_rate=1e-2, size=args.size)
    service.adapt(
        start, style, FolderSource(args.training_contents, "contents"), options, on_step=look
    )
    return measured


def report(args: argparse.Namespace, curves: dict) -> None:
    head = " | ".join(str(step) for step in AT)
    lines = [
        result_files.origin(),
        "",
        f"| style | from | {head} |",
        "|---" * (2 + len(AT)) + "|",
    ]
    for name, (neutral, predicted) in curves.items():
        for kind, values in (("neutral", neutral), ("predicted", predicted)):
            cells = [f"{values[step]:.3f}" if step in values else "" for step in AT]
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} |")
        reached = [
            next((s for s in AT if s in predicted and predicted[s] <= loss * (1 + SMOOTHED)), None)
            for loss in (neutral[step] for step in AT)
        ]
        cells = ["not reached" if step is None else str(step) for step in reached]
        lines.append(f"| {name} | steps to the same | {' | '.join(cells)} |")
    text = "\n".join(lines)
    (args.out / "new_style.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
