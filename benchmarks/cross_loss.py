"""Networks meta-trained and adapted under one style loss, judged by the others, for docs/losses.md.

    python benchmarks/cross_loss.py --start gram=runs/loss_gram --start bn=runs/loss_bn \
        --styles style/val --contents content/val --training-contents content/train \
        --features vgg16 --out runs/cross

Each start is adapted to `--styles` styles with the objective it was trained with. Judged is the
style loss over that of the contents unchanged, and the relative content loss, before and after.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import picture_choice

from metastyle_jax.adaptation import service
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import write_png
from metastyle_jax.features import registry
from metastyle_jax.reporting.records import markdown_table
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization
from metastyle_jax.studies.style_losses import study_pictures
from metastyle_jax.stylization import stylizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", action="append", required=True, help="NAME=WORKDIR")
    parser.add_argument("--judges", default="gram,linear,gaussian,bn")
    for name in ("styles", "contents", "training-contents", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--count", type=int, nargs=2, default=[3, 4], help="styles, contents")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    styles, contents = (
        picture_choice.squares(folder, "folder", count, args.size)
        for folder, count in zip((args.styles, args.contents), args.count, strict=True)
    )
    rows, sheet = [], [[content, style] for style in styles for content in contents[:1]]
    for name, workdir in (start.split("=", 1) for start in args.start):
        measured, pictures = judged(args, name, workdir, styles, contents)
        print(*measured, sep="\n", flush=True)
        rows += measured
        for line, picture in zip(sheet, pictures[:: len(contents)], strict=True):
            line.append(picture)
    args.out.mkdir(parents=True, exist_ok=True)
    names = [start.split("=", 1)[0] for start in args.start]
    titles = ("content", "style", *names)
    write_png(args.out / "sheet.png", contact_sheet(sheet, column_titles=titles, cell=args.size))
    print(markdown_table(rows, {key: key for key in rows[0]}))


def judged(args, name: str, workdir: str, styles: np.ndarray, contents: np.ndarray):
    """(rows before and after adaptation, pictures after: style 0 with contents 0, 1, ...)."""
    init = initialization.load(workdir)
    objective = provenance.recorded_objective(init.settings)
    network = registry.load(args.features, objective.layers, pooling="average")
    start = service.Start(stylizer.from_initialization(init), objective, network)
    source = FolderSource(args.training_contents, "content folder")
    options = service.Options(steps=args.steps, learning_rate=args.rate, size=args.size)
    adapted = [service.adapt(start, style, source, options).stylizer for style in styles]
    setup = study_pictures.PictureSetup(
        dataclasses.replace(objective, style_weight=1.0, normalize=True),
        network,
        np.tile(contents, (len(styles), 1, 1, 1)),
        np.repeat(styles, len(contents), axis=0),
        steps=0,
        learning_rate=0.0,
        folder=args.out,
    )
    rows = []
    for steps, stylizers in ((0, [start.stylizer] * len(styles)), (args.steps, adapted)):
        pictures = np.concatenate([each(contents) for each in stylizers])
        verdicts = {
            judge: study_pictures.relative_style_loss(setup, judge, pictures)
            for judge in args.judges.split(",")
        }
        row: dict[str, Any] = {"trained and adapted for": name, "steps": steps, **verdicts}
        rows.append({**row, "content": content_error(setup, pictures)})
    return rows, pictures


def content_error(setup: study_pictures.PictureSetup, pictures: np.ndarray) -> float:
    """Relative content loss, mean over the pictures: 1 is that of a picture without features."""
    layers = setup.objective.content_layers
    ours, wanted = (setup.network.extract(images, layers) for images in (pictures, setup.contents))
    errors = [
        np.square(ours[layer] - wanted[layer]).mean((1, 2, 3))
        / np.square(wanted[layer]).mean((1, 2, 3))
        for layer in layers
    ]
    return float(np.mean(errors))


if __name__ == "__main__":
    main()
