"""metastyle adapt --style=FILE [--content=PICTURES] [--out=DIR], the same as adapt.py"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.adaptation import service, starting_style, style_adaptation
from metastyle_jax.cli import adapt_flags, adapt_input, adapt_output
from metastyle_jax.cli.adapt_output import AdaptedTask, Task
from metastyle_jax.data import input_files
from metastyle_jax.data.folder import FileSource, FolderSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.runtime import interrupts
from metastyle_jax.settings import provenance
from metastyle_jax.storage import folder_lock, initialization, overwriting
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.stylization import batch_run, picture_files
from metastyle_jax.stylization.stylizer import Stylizer

BALANCED = 4  # contents that the style weight of --gamma is a mean over


def add_parser(commands: Any) -> None:
    """Add `adapt` to the commands."""
    adapt_flags.add_parser(commands).set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Adapt and write everything; returns the report.

    Raises:
      PartialFailure: some contents could not be stylized; the others are.
      UserError: a flag, file or folder cannot be used.
      KeyboardInterrupt: on Ctrl-C; after the first step what was reached has been written.
    """
    adapt_flags.check(args)
    out = args.out
    task = _read(args, out)
    with folder_lock.locked(out), interrupts.stop_requests("writing what it reached") as stop:
        prepare_folder(out)
        adapted = _adapt(task, stop)
        return _write(out, adapted, stop)


def _read(args: argparse.Namespace, out: Path) -> Task:
    """Everything that can be wrong is read before anything is written."""
    style_path = input_files.one_file(args.style) if args.style else adapt_input.sample_style()
    style = adapt_input.read_style(style_path, args.style_size)
    contents = adapt_input.find_contents(args, out)
    inputs = [style_path, *contents]
    if args.init not in initialization.SHIPPED:
        inputs.append(Path(args.init))
    overwriting.refuse_overwriting(adapt_output.planned_files(out, contents), inputs)
    batch_run.refuse_replacing(picture_files.output_files(contents, out / adapt_output.IMAGES))
    start = _start(args, initialization.load(args.init), style)
    crops = adapt_input.center_crops(contents, args.size)
    if args.steps is None:
        args.steps = service.default_steps(start, args.parameters)
    task = Task(args, style_path, style, contents, crops, start)
    return task._replace(start=_balanced(task))


def _adapt(task: Task, stop: interrupts.StopRequests) -> AdaptedTask:
    args, network = task.args, task.start.network
    kind = task.start.stylizer.record.settings[provenance.START]
    options = service.Options(
        steps=args.steps,
        learning_rate=args.learning_rate,
        parameters=args.parameters,
        size=args.size,
        batch=args.batch,
        seed=args.seed,
    )
    print(
        f"adapting {args.init} to {task.style_path}: {args.steps} steps, {args.parameters}, "
        f"{kind} start, features {network.spec} ({network.pooling} pooling)",
        flush=True,
    )

    def stopping() -> bool:
        stop.complete_steps()  # there is something to keep from the first step on
        return stop.received

    result = service.adapt(
        task.start,
        task.style,
        _training_contents(task),
        options,
        on_step=functools.partial(_print_progress, args.steps),
        stopping=stopping,
    )
    # contents one by one: the same pictures and input noise before and after
    measure = service.losses_over(task.start, task.style, task.crops, chunk=1)
    before, after = (measure(each) for each in (task.start.stylizer, result.stylizer))
    return AdaptedTask(task, result, before, after)


def _write(out: Path, adapted: AdaptedTask, stop: interrupts.StopRequests) -> dict[str, Any]:
    """The style first: whatever happens to the pictures, it is there."""
    path = adapt_output.write_style(out, adapted)
    if stop.received:
        print(f"interrupted after step {adapted.steps}: wrote {path}", file=sys.stderr, flush=True)
    contents, folder = adapted.task.contents, out / adapt_output.IMAGES
    outcome = batch_run.run(
        [batch_run.drawing_of(adapted.result.stylizer, ending="png")],
        contents,
        folder,
        redo=True,  # the style is another one than that of a run before
    )
    targets = picture_files.output_files(contents, folder)
    drawn = [pair for pair in zip(contents, targets, strict=True) if pair[1] in outcome.written]
    if drawn:
        adapt_output.write_sheet(out, adapted, drawn)
    report = adapt_output.write_report(out, adapted, outcome.failures)
    if drawn:
        adapt_output.write_sliders(out, path, adapted, drawn[0][0])
    for warning in adapted.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"loss {report['loss_before']:.4g} -> {report['loss_after']:.4g} in "
        f"{report['seconds']:.1f} s (compilation {report['compile_seconds']:.1f} s); see "
        f"{out / 'sheet.png'}"
    )
    if stop.received:
        raise KeyboardInterrupt
    outcome.check()
    return report


def _start(
    args: argparse.Namespace, init: initialization.Initialization, style: np.ndarray
) -> service.Start:
    """The objective, feature network and input noise of the training, changed by the flags."""
    objective = provenance.recorded_objective(init.settings)
    for name in ("content_weight", "style_weight"):
        if getattr(args, name) is not None:
            objective = dataclasses.replace(objective, **{name: getattr(args, name)})
    if args.style_loss is not None:
        try:
            objective = dataclasses.replace(objective, style_loss=fusion.parse(args.style_loss))
        except ValueError as error:
            raise UserError(f"--style-loss: {error}") from error
    beginning = starting_style.stylizer_at_start(init, style, args.start)
    if args.noise is not None:
        beginning = dataclasses.replace(beginning, input_noise=args.noise)
    return service.start_from(beginning, features=args.features or "", objective=objective)


def _balanced(task: Task) -> service.Start:
    """The start with the weight of --gamma; another loss keeps the gamma of the trained one."""
    args, start = task.args, task.start
    objective = start.objective
    trained = provenance.recorded_objective(start.stylizer.record.settings)
    if args.gamma is None and (
        args.style_weight is not None or objective.style_loss == trained.style_loss
    ):
        return start
    if not objective.content_weight:
        raise UserError(
            "--content-weight=0 leaves no content loss to balance the style loss with: give "
            "--style-weight, and no --gamma"
        )
    params = jax.tree.map(jnp.asarray, start.stylizer.params)

    def balance(objective: perceptual.Objective) -> float:
        return style_adaptation.balance(
            params, task.style, task.crops[:BALANCED], start.network, objective
        )

    gamma = args.gamma
    if gamma is None:
        before = dataclasses.replace(objective, style_loss=trained.style_loss)
        gamma = trained.style_weight / balance(before)
    weight = gamma * balance(objective)
    print(f"style weight {weight:.4g}: gamma {gamma:.4g} with {objective.style_loss.name}")
    return dataclasses.replace(start, objective=dataclasses.replace(objective, style_weight=weight))


def _training_contents(task: Task) -> ImageSource:
    args = task.args
    if not args.training_contents:
        return FileSource(task.contents, "--content", short_side=2 * args.size)
    source = open_source(args.training_contents, "content", image_size=args.size)
    if isinstance(source, FolderSource) and source.skipped:
        print(source.report(), file=sys.stderr)
    return source


def _print_progress(
    steps: int, step: int, reached: Stylizer, metrics: Mapping[str, float], seconds: float
) -> None:
    del reached
    if step % max(1, steps // 10) and step != 1:
        return
    rate = step / max(seconds, 1e-9)
    print(
        f"step {step}/{steps} loss {metrics['loss']:.4g} (content {metrics['content']:.4g} "
        f"style {metrics['style']:.4g}) | {rate:.3g} steps/s ETA {(steps - step) / rate:.0f} s",
        flush=True,
    )
