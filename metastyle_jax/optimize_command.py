"""python -m metastyle_jax optimize --content=FILE --style=FILE --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import (
    feature_weights,
    fusion,
    image_optimization,
    objective,
    optimization_state,
    stylization,
    vgg,
)
from metastyle_jax.atomic import atomic_path, prepare_folder
from metastyle_jax.data.images import check_minimum_size, read_image, write_png
from metastyle_jax.data.resizing import resample, resize_short_side
from metastyle_jax.errors import UserError
from metastyle_jax.media.sheet import contact_sheet

DEFAULT_RATES = {"adam": 0.02, "lbfgs": 1.0}
SHEET_ROWS = 16
SAVE_EVERY = 50  # steps; Ctrl-C saves too


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
    add("--preview-every", type=int, default=100, help="steps; 0 for no previews")
    add("--resume", action="store_true", help="continue what an earlier run in --out has begun")
    parser.set_defaults(run=run, takes_config=False)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part)


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
    _, features = feature_weights.load(args.features, goal.layers)
    features = jax.tree.map(jnp.asarray, features)
    out = prepare_folder(args.out)
    report, made = [], {}
    for number, group in enumerate(_groups(pairs, pictures, goal)):
        job = _Job(args, goal, features, pictures, group, out, number)
        made.update(job.run())
        report += job.report
    rows = [[pictures[p.content], pictures[p.style], made[p.name]] for p in pairs[:SHEET_ROWS]]
    titles = ("content", "style", goal.style_loss.name)
    write_png(out / "sheet.png", contact_sheet(rows, column_titles=titles, cell=256))
    result = {"loss": goal.style_loss.name, "gamma": args.gamma, "pictures": report}
    with atomic_path(out / "report.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"see {out / 'sheet.png'}")
    return result


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
        architecture=args.features.partition(":")[0],
        pooling=args.pooling,
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
            vgg.needed_convs(goal.architecture, layers)
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
    for flag, least in (("total_variation", 0), ("preview_every", 0), ("seed", 0)):
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
    stems = [Path(f"{content.stem}_{style.stem}") for content, style in together]
    names = stylization.output_names(stems)
    return [Pair(*pair, name) for pair, name in zip(together, names, strict=True)]


def _read_pictures(
    args: argparse.Namespace, pairs: list[Pair], goal: objective.Objective
) -> dict[Path, np.ndarray]:
    """All pictures, contents at the largest size and styles at theirs."""
    pictures = {}
    wanted = [(pair.content, 1.0, goal.layers) for pair in pairs]
    wanted += [(pair.style, args.style_scale, goal.style_layers) for pair in pairs]
    if args.start not in ("content", "noise"):
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
    pairs: list[Pair], pictures: dict[Path, np.ndarray], goal: objective.Objective
) -> Iterator[list[Pair]]:
    """Pairs that one program can take: of one proportion; styles too where features are kept."""
    groups: dict[Any, list[Pair]] = {}
    for pair in pairs:
        content, style = (pictures[path].shape for path in (pair.content, pair.style))
        proportions = content[0] / content[1], style[0] / style[1]
        key = proportions if goal.style_loss.random else proportions[0]
        groups.setdefault(key, []).append(pair)
    return iter(groups.values())


class _Job:
    """A group of pairs on its way through the sizes."""

    def __init__(self, args, goal, features, pictures, pairs, out, number) -> None:
        self.args, self.goal, self.features, self.out = args, goal, features, out
        self.pictures, self.pairs = pictures, pairs
        self.report: list[dict[str, Any]] = [{"name": pair.name} for pair in pairs]
        self.saved = optimization_state.SavedState(
            out / f"state_{number}.safetensors", _described(args, pairs)
        )

    def run(self) -> dict[str, np.ndarray]:
        """The pictures by name; they and the previews are written on the way."""
        level, state = self.saved.load(self._settings(0)) if self.args.resume else (0, None)
        images = None
        if state is not None and not state.step:  # the earlier run had finished a size
            images, state = np.asarray(state.images), None
        for index, size in list(enumerate(self.args.sizes))[level:]:
            contents, styles = self._resized(size)
            if state is None:
                images = self._first(contents) if images is None else _resized_to(images, contents)
                state = image_optimization.start(images, self._settings(index))
            state = self._optimize(index, state, contents, styles)
            images, state = np.asarray(state.images), None
        for pair, image in zip(self.pairs, images, strict=True):
            write_png(self.out / "images" / f"{pair.name}.png", image)
        return {pair.name: image for pair, image in zip(self.pairs, images, strict=True)}

    def _settings(self, index: int) -> image_optimization.OptimizationSettings:
        args = self.args
        return image_optimization.OptimizationSettings(
            self.goal,
            steps=args.steps[index % len(args.steps)],
            optimizer=args.optimizer,
            learning_rate=args.learning_rate or DEFAULT_RATES[args.optimizer],
            seed=args.seed,
        )

    def _resized(self, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
        contents = [resize_short_side(self.pictures[pair.content], size) for pair in self.pairs]
        style_size = round(size * self.args.style_scale)
        styles = [resize_short_side(self.pictures[pair.style], style_size) for pair in self.pairs]
        # of one proportion up to rounding
        shape = contents[0].shape[:2]
        return np.stack([_resampled(image, shape) for image in contents]), [
            _resampled(image, styles[0].shape[:2]) if self.goal.style_loss.random else image
            for image in styles
        ]

    def _first(self, contents: np.ndarray) -> np.ndarray:
        if self.args.start == "content":
            return contents
        if self.args.start == "noise":
            return image_optimization.noise(contents.shape, self.args.seed)
        image = _resampled(self.pictures[Path(self.args.start)], contents.shape[1:3])
        return np.broadcast_to(image, contents.shape)

    def _optimize(self, index, state, contents, styles) -> image_optimization.State:
        settings = self._settings(index)
        targets = image_optimization.make_targets(self.goal, self.features, contents, styles)
        beta = image_optimization.balance(
            self.goal, self.features, contents, targets, seed=self.args.seed
        )
        targets = image_optimization.weigh(targets, styles=self.args.gamma * beta)
        latest = [state]
        on_call = functools.partial(self._progress, index, beta, latest, state.step)
        try:
            state = image_optimization.optimize(
                state, targets, self.features, settings, on_call=on_call
            )
        finally:  # Ctrl-C included
            self.saved.save(index, latest[0], finished=latest[0].step == settings.steps)
        return state

    def _progress(self, index, beta, latest, first, state, metrics, seconds) -> None:
        args, total = self.args, self._settings(index).steps
        latest[0] = state
        if state.step % SAVE_EVERY == 0 and state.step < total:
            self.saved.save(index, state, finished=False)
        every = args.preview_every
        if every and state.step % every == 0 and state.step < total:
            for pair, image in zip(self.pairs, state.images, strict=True):
                name = f"{pair.name}_{args.sizes[index]}_{state.step:05d}.png"
                write_png(self.out / "previews" / name, np.asarray(image))
        for entry, *values in zip(self.report, beta, *metrics.values(), strict=True):
            numbers = dict(zip(("balance", *metrics), map(float, values), strict=True))
            entry |= {"steps": state.step, "seconds": seconds, **numbers}
        if state.step % max(1, total // 10) and state.step != total:
            return
        rate = (state.step - first - 1) / seconds if seconds else float("nan")
        left = (total - state.step) / rate if rate else float("nan")
        print(
            f"{args.sizes[index]} px, {len(self.pairs)} pictures: step {state.step}/{total} loss "
            f"{metrics['loss'].mean():.4g} (content {metrics['content'].mean():.4g} style "
            f"{metrics['style'].mean():.4g}) | {rate:.3g} steps/s ETA {left:.0f} s",
            flush=True,
        )


def _described(args: argparse.Namespace, pairs: list[Pair]) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    ignored = {"run", "takes_config", "settings", "resume", "out", "preview_every"}
    ignored |= {"content", "style"}
    flags = {name: value for name, value in vars(args).items() if name not in ignored}
    return {**flags, "pairs": [[str(pair.content), str(pair.style)] for pair in pairs]}


def _resampled(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return image if image.shape[:2] == tuple(shape) else resample(image, *shape)


def _resized_to(images: np.ndarray, contents: np.ndarray) -> np.ndarray:
    return np.stack([_resampled(image, contents.shape[1:3]) for image in images])
