"""Adaptation with features that stand in for VGG-16, judged by VGG-16 itself.

    taskset -c 1 python benchmarks/stand_in.py --styles=style/val --contents=content/val \
        --training-contents=content/train --features=vgg16,distilled,compact --out=runs/stand_in

The embedded start is adapted to some styles with each feature network, from the predicted style.
The table has the loss of the training, by VGG-16, over the contents, and the seconds of the steps.
OUT gets a sheet of pictures after the last step.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import picture_choice

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image, write_png
from metastyle_jax.data.resizing import center_crop_resized, resize_short_side
from metastyle_jax.reporting.records import markdown_table, write_csv
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.storage import initialization
from metastyle_jax.stylization.stylizer import Stylizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("styles", "contents", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--training-contents", required=True)
    parser.add_argument("--features", default="vgg16,distilled,compact")
    parser.add_argument("--at", default="0,25,50,100")
    parser.add_argument("--style-count", type=int, default=3)
    parser.add_argument("--content-count", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = picture_choice.spread(list_images(args.styles, "style folder"), args.style_count)
    rows: list[dict[str, Any]] = []
    sheet = []
    for file in files:
        pictures, found = of_style(args, file)
        rows += found
        sheet += pictures
    titles = ["style", "content", *args.features.split(",")]
    write_png(args.out / "sheet.png", contact_sheet(sheet, column_titles=titles, cell=args.size))
    write_csv(args.out / "stand_in.csv", rows)
    print(markdown_table(means(rows), {name: name for name in means(rows)[0]}))


def of_style(args: argparse.Namespace, file: Path) -> tuple[list[Any], list[dict[str, Any]]]:
    """Rows of the sheet, one for each of two contents, and of the table."""
    init = initialization.load("embedded")
    style = resize_short_side(read_image(file), min(512, min(read_image(file).shape[:2])))
    contents = np.stack(
        [
            center_crop_resized(read_image(path), args.size)
            for path in list_images(args.contents, "content folder")[: args.content_count]
        ]
    )
    beginning = starting_style.stylizer_at_start(init, style)
    judge = service.losses_over(service.start_from(beginning, features="vgg16"), style, contents)
    at = [int(step) for step in args.at.split(",")]
    rows, drawn = [], []
    for features in args.features.split(","):
        start = service.start_from(beginning, features=features)

        def keep(
            step: int, reached: Stylizer, metrics: Mapping[str, float], seconds: float
        ) -> None:
            if step in at:
                row = {"features": features.partition("/")[0], "steps": step, "artwork": file.stem}  # noqa: B023
                rows.append({**row, **judge(reached), "seconds": seconds})
                print(rows[-1], flush=True)

        keep(0, beginning, {}, 0.0)
        source = FolderSource(args.training_contents, "content folder")
        options = service.Options(steps=max(at), size=args.size)
        adapted = service.adapt(start, style, source, options, on_step=keep)
        drawn.append(np.asarray(adapted.stylizer(contents[:2])))
    shown = center_crop_resized(style, args.size)
    return [[shown, contents[n], *(each[n] for each in drawn)] for n in range(2)], rows


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over the styles."""
    kept = {}
    for row in rows:
        kept.setdefault((row["features"], row["steps"]), []).append(row)
    return [
        {
            "features": features,
            "steps": steps,
            **{
                name: float(np.mean([row[name] for row in chosen]))
                for name in ("loss", "content", "style", "seconds")
                if isinstance(chosen[0][name], float)
            },
        }
        for (features, steps), chosen in kept.items()
    ]


if __name__ == "__main__":
    main()
