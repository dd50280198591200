"""metastyle optimize --content=FILE --style=FILE --out=DIR [flags]"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.cli import optimize_flags
from metastyle_jax.data import input_files
from metastyle_jax.data.images import inspect_image, write_png
from metastyle_jax.errors import UserError, check_failures
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.pixels import image_optimization, optimization_pairs, optimization_run
from metastyle_jax.pixels.optimization_pairs import Pair
from metastyle_jax.pixels.optimization_state import SavedState
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.runtime import out_of_memory
from metastyle_jax.storage import folder_lock, overwriting
from metastyle_jax.storage.atomic import prepare_folder, write_text
from metastyle_jax.stylization.picture_files import read_content

SHEET_ROWS = 16


def add_parser(commands: Any) -> None:
    """Add `optimize` to the commands."""
    optimize_flags.add_parser(commands).set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Optimize all pairs and write pictures, previews, `sheet.png` and `report.json`.

    Raises:
      PartialFailure: some pictures cannot be used; the others have been made.
      UserError: a flag cannot be used, or none of the pictures.
      KeyboardInterrupt: on Ctrl-C, after what was reached has been saved for --resume.
    """
    objective = optimize_flags.make_objective(args)
    optimize_flags.check(args, objective)
    out = args.out
    pairs = _find_pairs(args, out)
    start = None if args.start in optimize_flags.NAMED_STARTS else input_files.one_file(args.start)
    _refuse_overwriting(args, out, pairs, start)
    smallest = min(args.sizes)
    optimization_pairs.check_sizes(pairs, objective, smallest, round(smallest * args.style_scale))
    schedule = _schedule(args, objective, args.start if start is None else read_content(start))
    pictures = optimization_pairs.read_pictures(pairs)
    pairs, failures = optimization_pairs.usable_pairs(
        pairs, pictures, functools.partial(_pair_files, args, out)
    )
    if not pairs:
        check_failures(failures, 0, "optimized")
    network = registry.load(args.features, objective.layers, pooling=args.pooling)
    with folder_lock.locked(out):
        prepare_folder(out)
        made, rows = _optimize(args, schedule, pairs, pictures.images, network, out, failures)
        result = {"loss": objective.style_loss.name, "gamma": args.gamma, "pictures": rows}
        _write_results(out, result, pairs, pictures.images, made)
    check_failures(failures, len(made), "optimized")
    return result


def _find_pairs(args: argparse.Namespace, out: Path) -> list[Pair]:
    contents = input_files.find_pictures(args.content, "content folder", without=out)
    styles = input_files.find_pictures(args.style, "style folder", without=out)
    for note in contents.notes + styles.notes:
        print(note, file=sys.stderr)
    pairs = optimization_pairs.make_pairs(contents.files, styles.files)
    for path in dict.fromkeys(path for pair in pairs for path in (pair.content, pair.style)):
        with contextlib.suppress(UserError):  # reading it says so again
            for note in inspect_image(path).notes:
                print(f"{path}: {note}")
    return pairs


def _refuse_overwriting(
    args: argparse.Namespace, out: Path, pairs: list[Pair], start: Path | None
) -> None:
    inputs = [path for pair in pairs for path in (pair.content, pair.style)]
    inputs += [] if start is None else [start]
    if file := args.features.partition(":")[2]:
        inputs.append(Path(file))
    outputs = [file for pair in pairs for file in _pair_files(args, out, pair)]
    outputs += [out / "sheet.png", out / "report.json"]
    outputs += [_state_file(out, number) for number in range(len(pairs))]
    overwriting.refuse_overwriting(outputs, inputs)


def _pair_files(args: argparse.Namespace, out: Path, pair: Pair) -> list[Path]:
    return optimization_run.output_files(
        out, pair.name, sizes=args.sizes, steps=args.steps, preview_every=args.preview_every
    )


def _state_file(out: Path, group: int) -> Path:
    return out / f"state_{group}.safetensors"


def _optimize(
    args: argparse.Namespace,
    schedule: optimization_run.Schedule,
    pairs: list[Pair],
    images: dict[Path, np.ndarray],
    network: FeatureNetwork,
    out: Path,
    failures: list[str],
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Pictures by name, and a row of figures for each; groups that do not fit go to `failures`."""
    made, rows = {}, []
    groups = optimization_pairs.group(pairs, images, schedule.settings.objective, args.batch)
    for number, group in enumerate(groups):
        names = [pair.name for pair in group]
        for pair in group:
            print(f"{pair.content}, {pair.style} -> {out / 'images' / pair.name}.png", flush=True)
        work = optimization_run.Group(
            names, [images[pair.content] for pair in group], [images[pair.style] for pair in group]
        )
        saved = SavedState(_state_file(out, number), _described(args, group))
        try:
            with out_of_memory.explained(
                f"there is not enough memory for a short side of {max(args.sizes)} pixels and "
                f"{len(group)} pictures at a time; use smaller --sizes or --batch"
            ):
                drawn, report = optimization_run.run(
                    schedule, work, network, out, saved, resume=args.resume
                )
        except out_of_memory.OutOfMemory as error:
            failures += [f"{pair.content}: {error}" for pair in group]
            continue
        made |= dict(zip(names, drawn, strict=True))
        rows += report
    return made, rows


def _schedule(
    args: argparse.Namespace, objective: perceptual.Objective, start: str | np.ndarray
) -> optimization_run.Schedule:
    settings = image_optimization.OptimizationSettings(
        objective,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate or optimize_flags.DEFAULT_RATES[args.optimizer],
        seed=args.seed,
    )
    return optimization_run.Schedule(
        settings,
        sizes=args.sizes,
        steps=args.steps,
        gamma=args.gamma,
        style_scale=args.style_scale,
        start=start,
        preview_every=args.preview_every,
    )


def _write_results(
    out: Path,
    result: dict[str, Any],
    pairs: list[Pair],
    images: dict[Path, np.ndarray],
    made: dict[str, np.ndarray],
) -> None:
    """`report.json`, and `sheet.png` with what was made."""
    shown = [pair for pair in pairs if pair.name in made][:SHEET_ROWS]
    if not shown:
        return
    rows = [[images[pair.content], images[pair.style], made[pair.name]] for pair in shown]
    titles = ("content", "style", result["loss"])
    write_png(out / "sheet.png", contact_sheet(rows, column_titles=titles, cell=256))
    write_text(out / "report.json", json.dumps(result, indent=2) + "\n")
    print(f"see {out / 'sheet.png'}")


def _described(args: argparse.Namespace, pairs: list[Pair]) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    ignored = {"run", "takes_config", "settings", "command_line", "resume", "out", "preview_every"}
    ignored |= {"content", "style"}
    flags = {name: value for name, value in vars(args).items() if name not in ignored}
    return {**flags, "pairs": [[str(pair.content), str(pair.style)] for pair in pairs]}
