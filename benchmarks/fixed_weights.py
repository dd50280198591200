"""Does a network with sliders draw what networks trained for fixed weights of the layers draw?

    taskset -c 1 python benchmarks/fixed_weights.py --content=content/train --style=STYLE.jpg \
        --val-content=content/val --out=runs/fixed_weights

Figure 6 of Babaeizadeh & Ghiasi 2020. One network is trained with sliders, and one for each of
`--alphas` whose style layers have these weights for good; all from the embedded start, for as many
steps, with the same batches. The table has each one's losses by layer on photographs that none was
trained with, and LPIPS (AlexNet) between the picture of the sliders and that of the fixed weights,
beside LPIPS between two settings of the sliders. Every training is kept in OUT and resumed.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import result_files

from metastyle_jax.data import resizing
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.evaluation import evaluation_inputs, judging, lpips
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.stylizer import Stylizer

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("relu2_2", "relu3_3", "relu4_3")  # of configs/adjustable.py
SHOWN = 3  # contents of the sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("content", "style", "val-content", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--alphas", default="1,0.05,0.05;0.05,0.05,1;1,1,1")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=192, help="of the contents that are judged")
    parser.add_argument("--count", type=int, default=16, help="contents that are judged")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    alphas = [tuple(map(float, each.split(","))) for each in args.alphas.split(";")]
    sliders = train(args, "sliders", {})
    fixed = [
        train(
            args,
            "fixed_" + "_".join(map(str, alpha)),
            {"model.adjuster": 0, "objective.style_layer_weights": alpha},
        )
        for alpha in alphas
    ]
    report(args, alphas, sliders, fixed)


def train(args: argparse.Namespace, name: str, changes: dict[str, Any]) -> Stylizer:
    workdir = args.out / name
    settings = {
        "data.content": args.content,
        "data.style": args.style,
        "data.image_size": args.image_size,
        "model.init": "embedded",
        "model.residual_blocks": 5,
        "batch.contents": 4,
        "outer.steps": args.steps,
        "outer.learning_rate": 3e-4,
        "outer.decay": 1e-3,
        "outer.style_warmup": 0,
        **changes,
    }
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "train.py", "--config=configs/adjustable.py", "--resume"]
    subprocess.run([*command, f"--workdir={workdir}", *flags], cwd=ROOT, check=True)
    return loading.load(str(workdir))


def report(
    args: argparse.Namespace,
    alphas: list[tuple[float, ...]],
    sliders: Stylizer,
    fixed: list[Stylizer],
) -> None:
    contents = evaluation_inputs.squares(str(args.val_content), args.count, args.size).images
    style = resizing.resize_short_side(read_image(args.style), 2 * args.image_size)
    judge = judging.of_training(sliders.record.settings)
    distance = functools.partial(lpips.distance, lpips.load("alexnet"))
    moved = [sliders.at(dict(zip(LAYERS, alpha, strict=True))) for alpha in alphas]
    drawn = {
        kind: [np.asarray(each(jnp.asarray(contents))) for each in stylizers]
        for kind, stylizers in (("sliders", moved), ("fixed", fixed))
    }
    lines = [
        result_files.origin(),
        "",
        "| weights | network | content | " + " | ".join(LAYERS) + " | LPIPS to the other |",
        "|---" * (4 + len(LAYERS)) + "|",
    ]
    for number, alpha in enumerate(alphas):
        pair = [drawn[kind][number] for kind in ("sliders", "fixed")]
        between = float(np.mean(distance(*pair)))
        for kind, pictures in zip(("sliders", "fixed"), pair, strict=True):
            losses = judging.measure(judge, pictures, contents, style)
            names = ("content", *(f"style {layer}" for layer in LAYERS))
            cells = " | ".join(f"{np.mean(losses[name]):.4g}" for name in names)
            lines.append(f"| {alpha} | {kind} | {cells} | {between:.3f} |")
    lines += ["", "LPIPS between two settings of the sliders:", ""]
    for one, other in itertools.combinations(range(len(alphas)), 2):
        value = float(np.mean(distance(drawn["sliders"][one], drawn["sliders"][other])))
        lines.append(f"- {alphas[one]} and {alphas[other]}: {value:.3f}")
    print("\n".join(lines))
    (args.out / "fixed_weights.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [
        [contents[shown], *(drawn[kind][n][shown] for n in range(len(alphas)) for kind in drawn)]
        for shown in range(min(SHOWN, len(contents)))
    ]
    titles = ["content", *(f"{kind} {alpha}" for alpha in alphas for kind in drawn)]
    write_png(args.out / "sheet.png", contact_sheet(rows, column_titles=titles, cell=args.size))


if __name__ == "__main__":
    main()
