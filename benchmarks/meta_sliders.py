"""Sliders after 100 steps, for styles never seen: do they work, and what do they cost?

    taskset -c 1 python benchmarks/meta_sliders.py --init=runs/meta_adjustable \
        --val-style=style/val --val-content=content/val --content=content/train --out=runs/sliders

For each style: an adaptation of the style with its sliders, and a plain one of the style alone from
the embedded start, with the same objective (all weights at 1), contents and steps. Measured on
photographs of `--val-content`: the loss with all weights at 1 of both (the price of the sliders),
and sweeps of each layer's weight from 0 to 1, as in `metastyle study sliders`, before and after the
adaptation. Every measurement is kept in OUT, so a run that is stopped goes on.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import numpy as np
import picture_choice
import result_files

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data import resizing
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image, write_png
from metastyle_jax.evaluation import evaluation_inputs
from metastyle_jax.evaluation.judging import Judge
from metastyle_jax.reporting.records import Records, Row
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.storage import initialization
from metastyle_jax.studies.adjustable import slider_study
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.stylizer import Stylizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--init", default="embedded", help="what has an adjuster")
    parser.add_argument("--plain", default="embedded", help="start of the plain adaptation")
    for name in ("val-style", "val-content", "content", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--styles", type=int, default=10)
    parser.add_argument("--contents", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--size", type=int, default=256, help="of the training crops")
    parser.add_argument("--judged-size", type=int, default=192)
    parser.add_argument("--weights", type=int, default=6, help="values of each sweep")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = picture_choice.spread(list_images(args.val_style, "style folder"), args.styles)
    contents = evaluation_inputs.squares(
        str(args.val_content), args.contents, args.judged_size
    ).images
    described = {name: str(value) for name, value in vars(args).items() if name != "styles"}
    records = Records(args.out / "measurements.json", described, total=len(files))
    rows: dict[str, Row] = {}
    for file in files:
        recorded = records.measure(file.stem, functools.partial(measure, args, file, contents))
        rows[file.stem] = recorded[0]
        report(args, rows)  # after each style, for who looks early


def measure(args: argparse.Namespace, file: Path, contents: np.ndarray) -> list[Row]:
    """One row: losses with all weights at 1, and the sweeps before and after."""
    image = resizing.resize_short_side(read_image(file), 2 * args.size)
    beginning = starting_style.stylizer_at_start(initialization.load(args.init), image)
    start = service.start_from(beginning)
    plain = starting_style.stylizer_at_start(initialization.load(args.plain), image)
    starts = {
        "sliders": start,
        "plain": service.Start(plain, start.objective, start.network),
    }
    row: Row = {}
    losses = service.losses_over(start, image, contents)
    for kind, begun in starts.items():
        row[f"{kind} start"] = losses(begun.stylizer)
        adapted = service.adapt(begun, image, FolderSource(args.content, "c"), options(args, kind))
        row[kind] = losses(adapted.stylizer)
        row[f"{kind} seconds"] = adapted.seconds
        if kind == "sliders":
            adapted.stylizer.save(args.out / f"{file.stem}.safetensors")
    judge = Judge(start.objective, start.network)
    reached = loading.load(args.out / f"{file.stem}.safetensors")
    for when, stylizer in (("before", beginning), ("after", reached)):
        row[when] = sweeps(args, judge, stylizer, contents, image)
    write_png(args.out / f"{file.stem}.png", sheet(reached, contents[0], image))
    return [row]


def options(args: argparse.Namespace, kind: str) -> service.Options:
    return service.Options(
        steps=args.steps,
        learning_rate=args.rate,
        parameters={"sliders": "sliders", "plain": "norm"}[kind],
        size=args.size,
        batch=args.batch,
    )


def sweeps(
    args: argparse.Namespace,
    judge: Judge,
    stylizer: Stylizer,
    contents: np.ndarray,
    image: np.ndarray,
) -> dict[str, Row]:
    """A summary for each layer and weight of the others, "relu1_1 0" and so on."""
    assert stylizer.sliders is not None
    return {
        f"{layer} {others:g}": slider_study.summary(
            slider_study.sweep(args.weights, stylizer, judge, contents, image, (layer, others))
        )
        for layer in stylizer.sliders.layers
        for others in slider_study.OTHERS
    }


def sheet(stylizer: Stylizer, content: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Rows: all weights together; then each layer's alone, the others at 0."""
    assert stylizer.sliders is not None
    layers, weights = stylizer.sliders.layers, np.linspace(0, 1, 5)
    every = [stylizer.at(dict.fromkeys(layers, float(weight))) for weight in weights]
    alone = [
        [stylizer.at(dict.fromkeys(layers, 0.0) | {layer: float(weight)}) for weight in weights]
        for layer in layers
    ]
    rows = [
        [content, image, *(each.draw(content) for each in stylizers)]
        for stylizers in [every, *alone]
    ]
    return contact_sheet(
        rows,
        column_titles=["content", "style", *(f"{weight:g}" for weight in weights)],
        row_titles=["all", *layers],
        cell=content.shape[0],
    )


def report(args: argparse.Namespace, rows: dict[str, Row]) -> None:
    price = [row["sliders"]["loss"] / row["plain"]["loss"] for row in rows.values()]
    lines = [
        result_files.origin(),
        "",
        f"{len(rows)} styles, {args.contents} contents, {args.steps} steps. Loss with all weights "
        f"at 1, with sliders over plain: median {np.median(price):.3f}, {min(price):.3f} to "
        f"{max(price):.3f}.",
        "",
        "| style | plain: start, after | sliders: start, after | ratio |",
        "|---|---|---|---|",
    ]
    for (name, row), ratio in zip(rows.items(), price, strict=True):
        cells = [
            f"{row[f'{kind} start']['loss']:.3f}, {row[kind]['loss']:.3f}"
            for kind in ("plain", "sliders")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.3f} |")
    lines += [
        "",
        "Each layer's weight from 0 to 1. Medians over styles; Spearman is that of weight and "
        "median loss, -1 if every larger weight lowers it.",
        "",
        "| layer, others | Spearman before, after | worst | contents that fall | at 1 over 0 |",
        "|---|---|---|---|---|",
    ]
    for name in next(iter(rows.values()))["after"]:
        before, after = ([row[when][name] for row in rows.values()] for when in ("before", "after"))
        lines.append(
            f"| {name} | {middle(before, 'spearman'):.2f}, {middle(after, 'spearman'):.2f} "
            f"| {max(each['spearman'] for each in after):.2f} "
            f"| {np.mean([each['falling'] for each in after]):.2f} "
            f"| {middle(before, 'ratio'):.3f}, {middle(after, 'ratio'):.3f} |"
        )
    print("\n".join(lines))
    (args.out / "meta_sliders.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def middle(summaries: list[Row], name: str) -> float:
    return float(np.median([each[name] for each in summaries]))


if __name__ == "__main__":
    main()
