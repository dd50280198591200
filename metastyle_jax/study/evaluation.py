"""How good an initialisation is: what it adapts to, between the bounds, before a strange judge."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import (
    adaptation,
    feature_weights,
    image_optimization,
    initialization,
    objective,
    settings,
    transformer,
    vgg,
)
from metastyle_jax.atomic import prepare_folder
from metastyle_jax.data import pipeline
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.images import list_images, read_image, write_png
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import lpips
from metastyle_jax.study import evaluation_report, plots
from metastyle_jax.study.judging import Judge, judge
from metastyle_jax.study.records import Records, Row
from metastyle_jax.stylization import stylize_image

RATES = {"norm": 1e-2, "all": 3e-4, "scratch": 1e-3}  # of Adam
PIXEL_RATE = 0.02


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to evaluate, and against what.

    Attributes:
      init: what `initialization.load` takes.
      styles, contents: folders; pictures are taken at even distances, as central squares.
      training_contents: folder of the pictures to adapt on; empty for `contents`.
      features: feature network of the judge; empty for that of the training.
      style_weight: of the judge, if it has features of its own: so that trainings with different
        objectives meet one judge.
      lpips_network, lpips_heads: files of SqueezeNet 1.1 and of LPIPS v0.1; empty for none.
      style_count, content_count: how many are judged.
      bound_styles: how many styles are also trained from scratch and optimised pixel by pixel.
      size: side of all pictures in pixels.
      batch: contents per adaptation step.
      at: steps that adaptation is judged after.
      scratch_at: the same of the network trained from scratch.
      pixel_steps: of the optimisation of the pixels.
      pixel_contents: contents whose pixels are optimised.
    """

    init: str = initialization.EMBEDDED
    styles: str = ""
    contents: str = ""
    training_contents: str = ""
    features: str = ""
    style_weight: float = 2.0
    lpips_network: str = ""
    lpips_heads: str = ""
    style_count: int = 6
    content_count: int = 12
    bound_styles: int = 3
    size: int = 192
    batch: int = 1
    at: tuple[int, ...] = (0, 5, 10, 25, 50, 100, 200)
    scratch_at: tuple[int, ...] = (0, 100, 1000, 5000)
    pixel_steps: int = 300
    pixel_contents: int = 4


class Gallery(NamedTuple):
    """All that the methods share.

    Attributes:
      evaluation: what was asked for.
      init: where adaptation starts.
      goal, features: that it minimises: of the training.
      by: the judge.
      names: of the styles.
      styles, contents: (N, size, size, 3) in [0, 1].
      out: folder.
    """

    evaluation: Evaluation
    init: initialization.Initialization
    goal: objective.Objective
    features: Any
    by: Judge
    names: list[str]
    styles: np.ndarray
    contents: np.ndarray
    out: Path


def run(evaluation: Evaluation, out: Path) -> None:
    """Judge everything; writes `evaluation.md`, CSV, plots, and a contact sheet below `out`.

    Stopped and started again, it goes on after the last method and style that was finished.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    _check(evaluation)
    plots.require_matplotlib()
    gallery = _open(evaluation, Path(out).expanduser())
    prepare_folder(gallery.out)
    bounds = min(evaluation.bound_styles, len(gallery.names))
    total = 3 * len(gallery.names) + 2 * bounds
    described = {**dataclasses.asdict(evaluation), "weights": gallery.init.digest}
    records = Records(gallery.out / "measurements.json", described, total=total)
    rows: list[Row] = []
    for number, name in enumerate(gallery.names):
        methods: dict[str, Callable[[Gallery, int], list[Row]]] = {
            "copies": copies,
            "norm": adapt_norm,
            "all": adapt_all,
        }
        if number < bounds:
            methods |= {"scratch": from_scratch, "pixels": optimize_pixels}
        for method, measure in methods.items():
            rows += records.measure(
                f"{name}, {method}", lambda measure=measure, n=number: measure(gallery, n)
            )
    pictures = {
        (row["style image"], row["method"], row["step"]): picture_of(gallery, row) for row in rows
    }
    sides = dict(zip(gallery.names, gallery.styles, strict=True))
    evaluation_report.write(
        gallery.out, rows, pictures, gallery.contents[0], sides, _heading(gallery)
    )


def _heading(gallery: Gallery) -> str:
    evaluation = gallery.evaluation
    without = "" if gallery.by.lpips else " LPIPS: no files were given."
    return (
        f"{evaluation.init}, adapted with {gallery.goal.architecture}, judged by "
        f"{gallery.by.goal.architecture} (loss relative to the targets, style weight "
        f"{gallery.by.goal.style_weight:g}); {len(gallery.names)} styles x "
        f"{len(gallery.contents)} contents of {evaluation.size} px, {evaluation.batch} contents "
        f"per step; the pixels of {evaluation.pixel_contents} contents.{without} All settings: "
        "`measurements.json`."
    )


def copies(gallery: Gallery, number: int) -> list[Row]:
    """The content unchanged, and the style unchanged in place of every content."""
    style = gallery.styles[number]
    pictures = {
        "content unchanged": gallery.contents,
        "style unchanged": np.broadcast_to(style, gallery.contents.shape),
    }
    return [_judged(gallery, number, name, 0, 0.0, x) for name, x in pictures.items()]


def adapt_norm(gallery: Gallery, number: int) -> list[Row]:
    """Adaptation of the 3,200 parameters of the style."""
    params = jax.tree.map(jnp.asarray, gallery.init.params)
    return _adapt(gallery, number, "norm", params, gallery.evaluation.at)


def adapt_all(gallery: Gallery, number: int) -> list[Row]:
    """Adaptation of all parameters."""
    params = jax.tree.map(jnp.asarray, gallery.init.params)
    return _adapt(gallery, number, "all", params, gallery.evaluation.at)


def from_scratch(gallery: Gallery, number: int) -> list[Row]:
    """A network of random parameters trained on this style alone (Johnson et al. 2016)."""
    weights = gallery.init.params["weights"]
    params = transformer.init(
        jax.random.key(0),
        width=weights["conv1"]["kernel"].shape[-1],
        residual_blocks=sum(name.startswith("residual") for name in weights) // 2,
    )
    return _adapt(gallery, number, "scratch", params, gallery.evaluation.scratch_at)


def _adapt(gallery: Gallery, number: int, method: str, params: Any, at: Sequence[int]) -> list[Row]:
    evaluation, rows, judging = gallery.evaluation, [], 0.0

    def record(step: int, params: Any, metrics: Any = None, seconds: float = 0.0) -> None:
        nonlocal judging  # seconds, which the clock of `adapt` counts too
        if step in at:
            began = time.perf_counter()
            outputs = np.stack([stylize_image(params, content) for content in gallery.contents])
            rows.append(_judged(gallery, number, method, step, seconds - judging, outputs))
            judging += time.perf_counter() - began

    record(0, params)
    judging = 0.0
    source = FolderSource(evaluation.training_contents or evaluation.contents, "content folder")
    crops = pipeline.crops(
        source, image_size=evaluation.size, count=evaluation.batch, seed=0, threads=1
    )
    how = adaptation.AdaptationSettings(
        gallery.goal,
        steps=max(at),
        learning_rate=RATES[method],
        parameters="norm" if method == "norm" else "all",
    )
    adaptation.adapt(params, gallery.styles[number], crops, gallery.features, how, on_step=record)
    return rows


def optimize_pixels(gallery: Gallery, number: int) -> list[Row]:
    """Optimisation of the pixels of the first contents under the same objective: the bound."""
    evaluation = gallery.evaluation
    contents = gallery.contents[: evaluation.pixel_contents]
    style = gallery.styles[number]
    targets = image_optimization.make_targets(
        gallery.goal, gallery.features, contents, [style] * len(contents)
    )
    how = image_optimization.OptimizationSettings(
        gallery.goal, steps=evaluation.pixel_steps, learning_rate=PIXEL_RATE
    )
    seconds = 0.0

    def keep(state: Any, metrics: Any, elapsed: float) -> None:
        nonlocal seconds
        seconds = elapsed

    start = image_optimization.start(contents, how)
    state = image_optimization.optimize(start, targets, gallery.features, how, on_call=keep)
    images = np.asarray(state.images)
    return [_judged(gallery, number, "pixels", evaluation.pixel_steps, seconds, images)]


def _judged(
    gallery: Gallery, number: int, method: str, step: int, seconds: float, outputs: np.ndarray
) -> Row:
    """A row of the table; the picture of the first content is kept for the sheet."""
    style, contents = gallery.styles[number], gallery.contents[: len(outputs)]
    name = gallery.names[number]
    write_png(gallery.out / "images" / f"{name}_{_slug(method)}_{step:04d}.png", outputs[0])
    found = judge(gallery.by, outputs, contents, style)
    return {"style image": name, "method": method, "step": step, "seconds": seconds, **found}


def _slug(method: str) -> str:
    return method.replace(" ", "_")


def picture_of(gallery: Gallery, row: Row) -> np.ndarray:
    """The picture of the first content that belongs to a row."""
    name = f"{row['style image']}_{_slug(row['method'])}_{row['step']:04d}.png"
    return read_image(gallery.out / "images" / name)


def _check(evaluation: Evaluation) -> None:
    for flag in ("styles", "contents"):
        if not getattr(evaluation, flag):
            raise UserError(f"--{flag} is missing: give a folder of pictures")
    if bool(evaluation.lpips_network) != bool(evaluation.lpips_heads):
        raise UserError("LPIPS needs two files: give both --lpips-network and --lpips-heads")
    if not evaluation.style_weight > 0:
        raise UserError(f"--style-weight={evaluation.style_weight} must be positive")
    least = {"style_count": 1, "content_count": 1, "bound_styles": 0, "size": 32, "batch": 1}
    least |= {"pixel_steps": 1, "pixel_contents": 1}
    for name, smallest in least.items():
        value = getattr(evaluation, name)
        if value < smallest:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}={value} is too small: use {smallest} or more")
    for name in ("at", "scratch_at"):
        steps = getattr(evaluation, name)
        if not steps or max(steps) < 1 or min(steps) < 0:
            raise UserError(f"--{name.replace('_', '-')} needs steps such as 0,50,100")


def _open(evaluation: Evaluation, out: Path) -> Gallery:
    init = initialization.load(evaluation.init)
    goal = settings.recorded_objective(init.settings)
    trained = init.settings.get("features.network", goal.architecture)
    _, features = feature_weights.load(trained, goal.layers)
    network = evaluation.features or trained
    seen = _judging(evaluation) if evaluation.features else _relative(goal)
    _, judging = feature_weights.load(network, seen.layers)
    heads = None
    if evaluation.lpips_network:
        heads = lpips.load(evaluation.lpips_network, evaluation.lpips_heads)
    names, styles = _squares(evaluation.styles, evaluation.style_count, evaluation.size)
    _, contents = _squares(evaluation.contents, evaluation.content_count, evaluation.size)
    by = Judge(seen, jax.tree.map(jnp.asarray, judging), heads)
    features = jax.tree.map(jnp.asarray, features)
    return Gallery(evaluation, init, goal, features, by, names, styles, contents, out)


def _relative(goal: objective.Objective) -> objective.Objective:
    """The training's own; a raw loss has another size for every network and style."""
    weight = goal.style_weight if goal.normalize else settings.NORMALIZED.style_weight
    return dataclasses.replace(goal, normalize=True, style_weight=weight)


def _judging(evaluation: Evaluation) -> objective.Objective:
    """That of a judge with features of its own, whatever the training minimised."""
    architecture = evaluation.features.partition(":")[0]
    usual = objective.Objective.style_layers
    return objective.Objective(
        architecture=architecture,
        pooling=vgg.POOLING.get(architecture, "max"),
        style_layers=feature_weights.usable_layers(evaluation.features, usual),
        style_weight=evaluation.style_weight,
        normalize=True,
    )


def _squares(folder: str, count: int, size: int) -> tuple[list[str], np.ndarray]:
    files = list_images(folder, "folder")
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    images = np.stack([center_crop_resized(read_image(file), size) for file in files])
    return [file.stem for file in files], images
