"""The command behind adapt.py: flags in, pictures and an exported style out."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import (
    adaptation,
    fusion,
    initialization,
    objective,
    settings,
    stylization,
)
from metastyle_jax.atomic import atomic_path, prepare_folder
from metastyle_jax.data import pipeline
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image, write_png
from metastyle_jax.data.resizing import center_crop_resized, resize_short_side
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.export import style_file
from metastyle_jax.feature_network import FeatureNetwork
from metastyle_jax.features import registry
from metastyle_jax.media.sheet import contact_sheet

EMBEDDED_STYLE = "swirls.jpg"
SHEET_ROWS = 8
EVALUATED = 8  # contents that loss_before and loss_after are means over
BALANCED = 4  # contents that the style weight of --gamma is a mean over


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of adapt.py (without the program's name).

    Raises:
      SystemExit: with code 2 and one line for an unknown or malformed flag.
    """
    parser = argparse.ArgumentParser(
        prog="adapt.py",
        description="Adapt the network to one style image and stylise pictures with it. "
        "Without arguments: the embedded demonstration.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--style", type=Path, help="style image; default: an embedded sample")
    add("--content", type=Path, help="picture or folder to stylise; default: embedded samples")
    add("--out", type=Path, default=Path("out"), help="folder for everything written")
    add(
        "--init",
        default=initialization.EMBEDDED,
        help="where to start: a workdir of train.py or a params.safetensors",
    )
    add("--steps", type=int, default=100, help="adaptation steps")
    add("--parameters", choices=("norm", "all"), default="norm", help="what moves")
    add(
        "--features",
        help="feature network: compact, vgg16 or vgg16:FILE (and vgg19); default: the one that "
        "the initialisation was trained with",
    )
    add(
        "--training-contents",
        help="contents to train on: a folder, tfds:NAME:SPLIT or procedural:COUNT; default: the "
        "pictures of --content, or the embedded samples",
    )
    add(
        "--learning-rate",
        type=float,
        help="of Adam; default: 0.01 (norm) or 0.0003 (all)",
    )
    add("--batch", type=int, default=1, help="contents per step")
    add("--size", type=int, default=256, help="side of the training crops in pixels")
    add("--style-size", type=int, default=512, help="short side of the style image in pixels")
    add("--content-weight", type=float, help="default: as the initialisation was trained")
    add("--style-weight", type=float, help="default: as the initialisation was trained")
    add("--style-loss", help="such as gaussian or 0.3*bn+0.7*poly; default: as trained")
    add(
        "--gamma",
        type=float,
        help="style weight in units of that at which the gradients of content and style are equal "
        "at the start; default for another --style-loss: that of the trained loss and weight",
    )
    add(
        "--noise",
        type=float,
        help="deviation of the noise on the contents, in [0, 1], from which strokes grow where "
        "they are flat; default: as the initialisation was trained; 0 for none",
    )
    add("--seed", type=int, default=0, help="of the order and crops of the training contents")
    args = parser.parse_args(argv)
    if args.learning_rate is None:
        args.learning_rate = DEFAULT_RATES[args.parameters]
    return args


# all parameters at 1e-3, the rate to train from scratch, end up worse than at 3e-4: docs/results.md
DEFAULT_RATES = {"norm": 1e-2, "all": 3e-4}


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Adapt and write everything; returns the report.

    Raises:
      UserError: a flag, file or folder cannot be used.
    """
    args = parse(argv)
    _check(args)
    style_path = args.style or _sample_style()
    style_image = _read_style(style_path, args.style_size)
    contents = _content_files(args.content)
    for path in contents:
        stylization.read_content(path)  # a bad picture is reported now, not after the adaptation
    init = initialization.load(args.init)
    if args.noise is None:
        args.noise = settings.recorded_noise(init.settings)
    trained = settings.recorded_objective(init.settings)
    goal, network = _objective(args, init, trained)
    out = prepare_folder(args.out)
    params = jax.tree.map(jnp.asarray, init.params)
    goal = _balanced(args, trained, goal, params, style_image, contents, network)
    how = adaptation.AdaptationSettings(
        objective=goal,
        steps=args.steps,
        learning_rate=args.learning_rate,
        parameters=args.parameters,
        noise=args.noise,
    )
    print(
        f"adapting {args.init} to {style_path}: {args.steps} steps, {args.parameters}, features "
        f"{network.spec} ({network.pooling} pooling)"
    )
    result = adaptation.adapt(
        params,
        style_image,
        _training_crops(args, contents),
        network,
        how,
        on_step=functools.partial(_print_progress, args.steps),
    )
    losses = [
        _losses(args, each, contents, style_image, network, goal)
        for each in (params, result.params)
    ]
    report = _report(args, style_path, init, network, goal, result, *losses)
    _write(args, out, init, network, goal, params, result, style_image, contents, report)
    print(
        f"loss {report['loss_before']:.4g} -> {report['loss_after']:.4g} in {result.seconds:.1f} s "
        f"(compilation {result.compile_seconds:.1f} s); see {out / 'sheet.png'}"
    )
    return report


def _check(args: argparse.Namespace) -> None:
    for name, least in (("steps", 1), ("batch", 1), ("size", 32), ("style_size", 32), ("seed", 0)):
        if getattr(args, name) < least:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}={getattr(args, name)} is too small: use {least} or more")
    for name in ("learning_rate", "gamma"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name.replace('_', '-')}={value} must be positive")
    if args.noise is not None:
        settings.check_noise(args.noise, "--noise")
    if args.gamma is not None and args.style_weight is not None:
        raise UserError("--gamma and --style-weight both set the weight of the style: give one")


def _sample_style() -> Path:
    samples = initialization.sample_images("styles")
    return next(path for path in samples if path.name == EMBEDDED_STYLE)


def _read_style(path: Path, size: int) -> np.ndarray:
    image = stylization.read_content(path)
    return resize_short_side(image, size) if min(image.shape[:2]) > size else image


def _content_files(content: Path | None) -> list[Path]:
    if content is None:
        return initialization.sample_images("contents")
    return list_images(content, "content folder") if content.is_dir() else [content]


def _objective(
    args: argparse.Namespace,
    init: initialization.Initialization,
    trained: objective.Objective,
) -> tuple[objective.Objective, FeatureNetwork]:
    """The objective and the feature network of the training, changed by the flags."""
    goal = trained
    for name in ("content_weight", "style_weight"):
        if getattr(args, name) is not None:
            goal = dataclasses.replace(goal, **{name: getattr(args, name)})
    if args.style_loss is not None:
        try:
            goal = dataclasses.replace(goal, style_loss=fusion.parse(args.style_loss))
        except ValueError as error:
            raise UserError(f"--style-loss: {error}") from error
    spec, pooling = settings.recorded_features(init.settings, args.features or "")
    return goal, registry.load(spec, goal.layers, pooling=pooling)


def _balanced(
    args: argparse.Namespace,
    trained: objective.Objective,
    goal: objective.Objective,
    params: Any,
    style_image: np.ndarray,
    contents: list[Path],
    network: FeatureNetwork,
) -> objective.Objective:
    """`goal` with the style weight of --gamma; another loss keeps the gamma of the trained one."""
    if args.gamma is None and (
        args.style_weight is not None or goal.style_loss == trained.style_loss
    ):
        return goal
    crops = _centre_crops(contents, args.size)[:BALANCED]

    def balance(goal: objective.Objective) -> float:
        return adaptation.balance(params, style_image, crops, network, goal)

    gamma = args.gamma
    if gamma is None:
        before = dataclasses.replace(goal, style_loss=trained.style_loss)
        gamma = trained.style_weight / balance(before)
    weight = gamma * balance(goal)
    print(f"style weight {weight:.4g}: gamma {gamma:.4g} with {goal.style_loss.name}")
    return dataclasses.replace(goal, style_weight=weight)


def _centre_crops(contents: list[Path], size: int) -> np.ndarray:
    return np.stack([center_crop_resized(read_image(path), size) for path in contents[:EVALUATED]])


def _training_crops(args: argparse.Namespace, contents: list[Path]):
    if args.training_contents:
        source = open_source(args.training_contents, "content", image_size=args.size)
        if isinstance(source, FolderSource) and source.skipped:
            print(source.report(), file=sys.stderr)
    else:
        source = [read_image(path) for path in contents]
    return pipeline.crops(source, image_size=args.size, count=args.batch, seed=args.seed, threads=1)


def _print_progress(
    steps: int, step: int, params: Any, metrics: dict[str, float], seconds: float
) -> None:
    del params
    if step % max(1, steps // 10) and step != 1:
        return
    rate = step / max(seconds, 1e-9)
    print(
        f"step {step}/{steps} loss {metrics['loss']:.4g} (content {metrics['content']:.4g} "
        f"style {metrics['style']:.4g}) | {rate:.3g} steps/s ETA {(steps - step) / rate:.0f} s",
        flush=True,
    )


def _losses(
    args: argparse.Namespace,
    params: Any,
    contents: list[Path],
    style_image: np.ndarray,
    network: FeatureNetwork,
    goal: objective.Objective,
) -> dict[str, float]:
    """Mean loss over centre crops of the contents: the same pictures before and after."""
    crops = _centre_crops(contents, args.size)
    targets = adaptation.make_style_targets(style_image, network, goal=goal)
    parts = [
        adaptation.evaluate_batch(params, crop[None], targets, network, goal=goal, noise=args.noise)
        for crop in crops
    ]
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def _report(args, style_path, init, network, goal, result, before, after) -> dict[str, Any]:
    return {
        "style": str(style_path),
        "init": init.name,
        "weights_digest": init.digest,
        "parameters": args.parameters,
        **settings.record_features(network),
        "steps": args.steps,
        "learning_rate": args.learning_rate,
        "noise": args.noise,
        "style_loss": goal.style_loss.name,
        "style_weight": goal.style_weight,
        "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "loss_before": before["loss"],
        "loss_after": after["loss"],
        "content_before": before["content"],
        "content_after": after["content"],
        "style_before": before["style"],
        "style_after": after["style"],
        "history": result.history,
    }


def _write(args, out, init, network, goal, before, result, style_image, contents, report) -> None:
    how = {
        "init": init.name,
        "adaptation.steps": args.steps,
        "adaptation.learning_rate": args.learning_rate,
        settings.NOISE: args.noise,
        **settings.record_features(network),
        **settings.record_objective(goal),
    }
    command = shlex.join(["adapt.py", *sys.argv[1:]])
    params = jax.device_get(result.params)
    if args.parameters == "norm":
        style_file.save_style(
            out / "style.safetensors",
            params["style"],
            weights_digest=init.digest,
            settings=how,
            command=command,
        )
    else:
        style_file.save_params(out / "params.safetensors", params, settings=how, command=command)
    written = stylization.stylize_files(result.params, contents, out / "images", noise=args.noise)
    rows = []
    for path, output in list(zip(contents, written, strict=True))[:SHEET_ROWS]:
        image = stylization.read_content(path)
        drawn_before = stylization.stylize_image(before, image, args.noise)
        rows.append([image, style_image, drawn_before, read_image(output)])
    titles = ("content", "style", "before", f"after {args.steps} steps")
    write_png(out / "sheet.png", contact_sheet(rows, column_titles=titles, cell=256))
    with atomic_path(out / "report.json") as temporary:
        Path(temporary).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
