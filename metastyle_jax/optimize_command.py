"""python -m metastyle_jax optimize --content=FILE --style=FILE --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax import (
    command_line,
    fusion,
    image_optimization,
    objective,
    optimization_run,
    stylization,
    vgg,
)
from metastyle_jax.atomic import atomic_path, prepare_folder
from metastyle_jax.data.images import check_minimum_size, read_image, write_png
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.media.sheet import contact_sheet
from metastyle_jax.optimization_state import SavedState

DEFAULT_RATES = {"adam": 0.02, "lbfgs": 1.0}
SHEET_ROWS = 16
NAMED_STARTS = ("content", "noise")


@dataclasses.dataclass(frozen=True)
class Pair:
    """One picture to make: where its content and style are, and what its files are called."""

    content: Path
    style: Path
    name: str


def add_parser(commands: Any) -> None:
    """Add `optimize` to the subparsers of `cli`."""
    parser = commands.add_parser(
        "optimize",
        help="stylise by optimising the pixels (Gatys et al.), under any style loss",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--content", type=Path, nargs="+", required=True, help="pictures")
    add(
        "--style",
        type=Path,
        nargs="+",
        required=True,
        help="one for each content, or one for all; several styles of one content work too",
    )
    add("--out", type=Path, required=True, help="folder for everything written")
    add("--loss", default="gram", help="such as poly(1), gaussian(0.5,1,2), bn, 0.3*bn+0.7*poly")
    add("--gamma", type=float, default=5.0, help="style against content; 1: equal gradients")
    add("--features", default="compact", help="compact, vgg16 or vgg16:FILE (and vgg19)")
    add("--pooling", choices=("max", "average"), default="average", help="of the feature network")
    add("--style-layers", type=_names, default="relu1_2,relu2_2,relu3_3")
    add("--style-layer-weights", type=_floats, default="", help="one each; default: 1")
    add("--content-layers", type=_names, default="relu3_3")
    add("--raw", action="store_true", help="losses of layers as they are, not relative to targets")
    add("--total-variation", type=float, default=0.0, help="weight; 0.1 is gentle")
    add("--sizes", type=_ints, default="256", help="short sides in pixels, coarse to fine")
    add("--style-scale", type=float, default=1.0, help="short side of the style over the content's")
    add("--steps", type=_ints, default="300", help="at each size; one number or one per size")
    add("--optimizer", choices=tuple(image_optimization.OPTIMIZERS), default="adam")
    add("--learning-rate", type=float, help="default: 0.02 (adam) or 1 (lbfgs)")
    add("--start", default="content", help="content, noise, or a picture")
    add("--seed", type=int, default=0, help="of the noise and of random losses")
    add("--batch", type=int, default=4, help="pictures at most in one program")
    add("--preview-every", type=int, default=100, help="steps; 0 for no previews")
    add("--resume", action="store_true", help="continue what an earlier run in --out has begun")
    parser.set_defaults(run=run, takes_config=False)


def _names(text: str) -> tuple[str, ...]:
    return tuple(command_line.split_list(text))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(map(int, command_line.split_list(text)))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(map(float, command_line.split_list(text)))


# argparse names them in its messages
_ints.__name__ = _floats.__name__ = "list of numbers"


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Optimise all pairs and write pictures, previews, `sheet.png` and `report.json`.

    Raises:
      UserError: a flag or a picture cannot be used.
      KeyboardInterrupt: on Ctrl-C, after what was reached has been saved for --resume.
    """
    goal = make_objective(args)
    _check(args, goal)
    pairs = make_pairs(args.content, args.style)
    pictures = _read_pictures(args, pairs, goal)
    network = registry.load(args.features, goal.layers, pooling=args.pooling)
    out = prepare_folder(args.out)
    schedule = _schedule(args, goal, pictures)
    made, rows = {}, []
    for number, group in enumerate(_groups(pairs, pictures, goal, args.batch)):
        names = [pair.name for pair in group]
        images, report = optimization_run.run(
            schedule,
            optimization_run.Group(
                names,
                [pictures[pair.content] for pair in group],
                [pictures[pair.style] for pair in group],
            ),
            network,
            out,
            SavedState(out / f"state_{number}.safetensors", _described(args, group)),
            resume=args.resume,
        )
        made |= dict(zip(names, images, strict=True))
        rows += report
    _write_sheet(out, goal, pairs, pictures, made)
    result = {"loss": goal.style_loss.name, "gamma": args.gamma, "pictures": rows}
    with atomic_path(out / "report.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"see {out / 'sheet.png'}")
    return result


def _schedule(
    args: argparse.Namespace, goal: objective.Objective, pictures: dict[Path, np.ndarray]
) -> optimization_run.Schedule:
    settings = image_optimization.OptimizationSettings(
        goal,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate or DEFAULT_RATES[args.optimizer],
        seed=args.seed,
    )
    return optimization_run.Schedule(
        settings,
        sizes=args.sizes,
        steps=args.steps,
        gamma=args.gamma,
        style_scale=args.style_scale,
        start=args.start if args.start in NAMED_STARTS else pictures[Path(args.start)],
        preview_every=args.preview_every,
    )


def _write_sheet(
    out: Path,
    goal: objective.Objective,
    pairs: list[Pair],
    pictures: dict[Path, np.ndarray],
    made: dict[str, np.ndarray],
) -> None:
    rows = [[pictures[p.content], pictures[p.style], made[p.name]] for p in pairs[:SHEET_ROWS]]
    titles = ("content", "style", goal.style_loss.name)
    write_png(out / "sheet.png", contact_sheet(rows, column_titles=titles, cell=256))


def make_objective(args: argparse.Namespace) -> objective.Objective:
    """The objective that the flags describe, with weight 1 for content and style.

    Raises:
      UserError: an unknown loss, or a number in it that cannot be used.
    """
    try:
        style_loss = fusion.parse(args.loss)
    except ValueError as error:
        raise UserError(f"--loss: {error}") from error
    return objective.Objective(
        content_layers=args.content_layers,
        style_layers=args.style_layers,
        style_weight=1.0,
        style_layer_weights=args.style_layer_weights,
        total_variation_weight=args.total_variation,
        style_loss=style_loss,
        normalize=not args.raw,
    )


def _check(args: argparse.Namespace, goal: objective.Objective) -> None:
    for flag, layers in (("style", goal.style_layers), ("content", goal.content_layers)):
        try:
            vgg.needed_convs(args.features.partition(":")[0], layers)
        except ValueError as error:
            where = "features" if "unknown feature" in str(error) else f"{flag}-layers"
            raise UserError(f"--{where}: {error}") from error
    weights = goal.style_layer_weights
    if weights and (len(weights) != len(goal.style_layers) or not min(weights) > 0):
        raise UserError(
            f"--style-layer-weights={','.join(map(str, weights))} needs a positive number for each "
            f"of the {len(goal.style_layers)} layers"
        )
    for flag in ("gamma", "style_scale"):
        if not getattr(args, flag) > 0:
            raise UserError(f"--{flag.replace('_', '-')}={getattr(args, flag)} must be positive")
    for flag, least in (("total_variation", 0), ("preview_every", 0), ("seed", 0), ("batch", 1)):
        if not getattr(args, flag) >= least:
            name = flag.replace("_", "-")
            raise UserError(f"--{name}={getattr(args, flag)} is too small: use {least} or more")
    if not args.sizes or min(args.sizes) < 16:
        raise UserError("--sizes needs short sides of 16 pixels or more, such as 128,256")
    if not args.steps or min(args.steps) < 1 or len(args.steps) not in (1, len(args.sizes)):
        raise UserError("--steps needs one positive number, or one for each of --sizes")
    if args.learning_rate is not None and not args.learning_rate > 0:
        raise UserError(f"--learning-rate={args.learning_rate} must be positive")


def make_pairs(contents: Sequence[Path], styles: Sequence[Path]) -> list[Pair]:
    """Contents and styles one by one; a single one goes with all of the others.

    Raises:
      UserError: several of both, but not as many.
    """
    count = max(len(contents), len(styles))
    if {len(contents), len(styles)} - {1, count}:
        raise UserError(
            f"{len(contents)} contents and {len(styles)} styles do not make pairs: give as many of "
            "both, or one of either"
        )
    together = [(contents[i % len(contents)], styles[i % len(styles)]) for i in range(count)]
    files = [Path(f"{content.stem}_{style.stem}.png") for content, style in together]
    names = stylization.output_names(files)
    return [Pair(*pair, name) for pair, name in zip(together, names, strict=True)]


def _read_pictures(
    args: argparse.Namespace, pairs: list[Pair], goal: objective.Objective
) -> dict[Path, np.ndarray]:
    """All pictures, contents at the largest size and styles at theirs."""
    pictures = {}
    wanted = [(pair.content, 1.0, goal.layers) for pair in pairs]
    wanted += [(pair.style, args.style_scale, goal.style_layers) for pair in pairs]
    if args.start not in NAMED_STARTS:
        wanted.append((Path(args.start), 1.0, ()))
    for path, scale, layers in wanted:
        if path not in pictures:
            image = read_image(path)
            check_minimum_size(image, path)
            pictures[path] = image
        pools = max((int(layer[4]) - 1 for layer in layers), default=0)
        if round(min(args.sizes) * scale) >> pools < 1:
            raise UserError(
                f"{path}: resized to a short side of {round(min(args.sizes) * scale)} pixels it is "
                f"too small for {max(layers, key=lambda layer: layer[4])}: use larger --sizes"
            )
    return pictures


def _groups(
    pairs: list[Pair],
    pictures: dict[Path, np.ndarray],
    goal: objective.Objective,
    most: int,
) -> Iterator[list[Pair]]:
    """Pairs that one program can take: of one proportion; styles too where features are kept."""
    groups: dict[Any, list[Pair]] = {}
    for pair in pairs:
        content, style = (pictures[path].shape for path in (pair.content, pair.style))
        proportions = content[0] / content[1], style[0] / style[1]
        key = proportions if goal.style_loss.random else proportions[0]
        groups.setdefault(key, []).append(pair)
    for group in groups.values():
        yield from (group[i : i + most] for i in range(0, len(group), most))


def _described(args: argparse.Namespace, pairs: list[Pair]) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    ignored = {"run", "takes_config", "settings", "resume", "out", "preview_every"}
    ignored |= {"content", "style"}
    flags = {name: value for name, value in vars(args).items() if name not in ignored}
    return {**flags, "pairs": [[str(pair.content), str(pair.style)] for pair in pairs]}
