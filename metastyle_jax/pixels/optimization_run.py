"""Optimizes a group of pictures from coarse to fine, with previews, progress and a saved state."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.data.images import write_png
from metastyle_jax.data.resizing import resample, resize_short_side
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.pixels import image_optimization
from metastyle_jax.pixels.image_optimization import Pictures
from metastyle_jax.pixels.optimization_state import Progress, SavedState

_LOG = logging.getLogger(__name__)

SAVE_EVERY = 50  # steps; an interruption saves too


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Sizes, steps and outputs of a run.

    Attributes:
      settings: for each size; the steps are replaced.
      sizes: short sides in pixels, coarse to fine.
      steps: one number for all sizes, or one for each.
      gamma: style weight in units of `image_optimization.balance`.
      style_scale: short side of the style over that of the content.
      start: "content", "noise", or a picture (h, w, 3) in [0, 1].
      preview_every: steps between previews; 0 for none.
    """

    settings: image_optimization.OptimizationSettings
    sizes: tuple[int, ...] = (256,)
    steps: tuple[int, ...] = (300,)
    gamma: float = 5.0
    style_scale: float = 1.0
    start: str | np.ndarray = "content"
    preview_every: int = 0

    def at(self, level: int) -> image_optimization.OptimizationSettings:
        """The settings of size number `level`."""
        return dataclasses.replace(self.settings, steps=self.steps[level % len(self.steps)])


@dataclasses.dataclass(frozen=True)
class Group:
    """Pictures that one program makes.

    Attributes:
      names: of the files, N.
      contents, styles: (h, w, 3) in [0, 1]; contents of one proportion, up to rounding, and for
        losses that keep features the styles too.
    """

    names: Sequence[str]
    contents: Sequence[np.ndarray]
    styles: Sequence[np.ndarray]


def output_files(
    out: Path, name: str, *, sizes: Sequence[int], steps: Sequence[int], preview_every: int
) -> list[Path]:
    """The files that `run` writes for the picture `name`; the other arguments as in `Schedule`."""
    previews = [
        _preview(out, name, size, step)
        for level, size in enumerate(sizes)
        for step in range(1, steps[level % len(steps)])
        if preview_every and step % preview_every == 0
    ]
    return [_picture(out, name), *previews]


def _picture(out: Path, name: str) -> Path:
    return out / "images" / f"{name}.png"


def _preview(out: Path, name: str, size: int, step: int) -> Path:
    return out / "previews" / f"{name}_{size}_{step:05d}.png"


def run(
    schedule: Schedule,
    group: Group,
    network: FeatureNetwork,
    out: Path,
    saved: SavedState,
    *,
    resume: bool = False,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Optimize a group; writes `out/images/NAME.png` and previews.

    Args:
      schedule: sizes, steps, previews.
      group: what.
      network: the feature network.
      out: folder.
      saved: where the state is kept, now and then and when this is interrupted.
      resume: continue from there.

    Returns:
      (pictures (N, H, W, 3) in [0, 1], a row each: "name", "steps" and "seconds" at the last size,
      "balance", "loss", "content", "style").
    """
    level, state, rows = saved.load(schedule.at(0)) if resume else Progress(0, None, [])
    images = None
    if state is not None and not state.step:  # the earlier run had finished a size
        images, state = np.asarray(state.images), None
    before = rows or [{}] * len(group.names)
    report = [{**row, "name": name} for row, name in zip(before, group.names, strict=True)]
    for index in range(level, len(schedule.sizes)):
        contents, styles = _resized(schedule, group, schedule.sizes[index])
        if state is None:
            images = _start(schedule, contents) if images is None else _fit_all(images, contents)
            state = image_optimization.start(images, schedule.at(index))
        run_size = _Size(schedule, group, out, saved, report, index, state)
        images, state = np.asarray(run_size.run(contents, styles, network).images), None
    assert images is not None  # there is a size
    for name, image in zip(group.names, images, strict=True):
        write_png(_picture(out, name), image)
    return images, report


class _Size:
    """The steps at one size, and what is shown and kept of them."""

    def __init__(
        self,
        schedule: Schedule,
        group: Group,
        out: Path,
        saved: SavedState,
        report: list[dict[str, Any]],
        level: int,
        state: image_optimization.State,
    ) -> None:
        self._schedule, self._group, self._out, self._saved = schedule, group, out, saved
        self._report, self._level = report, level
        self._settings = schedule.at(level)
        self._state, self._first = state, state.step
        self._seconds = report[0].get("seconds", 0.0) if state.step else 0.0  # of earlier runs

    def run(
        self, contents: np.ndarray, styles: Sequence[np.ndarray], network: FeatureNetwork
    ) -> image_optimization.State:
        objective, seed = self._settings.objective, self._settings.seed
        targets = image_optimization.make_targets(objective, network, contents, styles)
        balance = image_optimization.balance(objective, network, contents, targets, seed=seed)
        for row, factor in zip(self._report, balance, strict=True):
            row["balance"] = float(factor)
        targets = image_optimization.weigh(targets, styles=self._schedule.gamma * balance)
        try:
            return image_optimization.optimize(
                self._state,
                targets,
                network,
                self._settings,
                on_call=self._on_call,
                every=self._moments(),
            )
        finally:  # Ctrl-C included
            # what was saved before says more than a size that has taken no step
            if self._finished or self._state.step > self._first:
                self._save()

    def _moments(self) -> list[int]:
        """Steps after which something is written or said."""
        moments = (SAVE_EVERY, self._schedule.preview_every, self._settings.steps // 10)
        return [every for every in moments if every]

    @property
    def _finished(self) -> bool:
        return self._state.step == self._settings.steps

    def _save(self) -> None:
        self._saved.save(self._level, self._state, self._report, finished=self._finished)

    def _on_call(
        self, state: image_optimization.State, metrics: dict[str, np.ndarray], seconds: float
    ) -> None:
        self._state, total = state, self._settings.steps
        for k, row in enumerate(self._report):
            losses = {name: float(values[k]) for name, values in metrics.items()}
            row.update(losses, steps=state.step, seconds=self._seconds + seconds)
        if state.step < total and state.step % SAVE_EVERY == 0:
            self._save()
        every = self._schedule.preview_every
        if every and state.step < total and state.step % every == 0:
            self._write_previews(state)
        if state.step % max(1, total // 10) == 0 or state.step == total:
            self._print(state.step, total, metrics, seconds)

    def _write_previews(self, state: image_optimization.State) -> None:
        size = self._schedule.sizes[self._level]
        for name, image in zip(self._group.names, state.images, strict=True):
            write_png(_preview(self._out, name, size, state.step), np.asarray(image))

    def _print(self, step: int, total: int, metrics: Any, seconds: float) -> None:
        steps = step - self._first - 1  # the first one compiled
        rate = f"{steps / seconds:.3g}" if seconds else "-"
        eta = f"{(total - step) * seconds / steps:.0f}" if seconds else "-"
        means = {name: values.mean() for name, values in metrics.items()}
        _LOG.info(
            f"{self._schedule.sizes[self._level]} px, {len(self._report)} pictures: step "
            f"{step}/{total} loss {means['loss']:.4g} (content {means['content']:.4g} style "
            f"{means['style']:.4g}) | {rate} steps/s ETA {eta} s"
        )


def _resized(schedule: Schedule, group: Group, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    contents = [resize_short_side(image, size) for image in group.contents]
    styles = [
        resize_short_side(image, round(size * schedule.style_scale)) for image in group.styles
    ]
    if schedule.settings.objective.style_loss.random:
        styles = [_fit(image, styles[0]) for image in styles]
    return _fit_all(contents, contents), styles


def _start(schedule: Schedule, contents: np.ndarray) -> np.ndarray:
    if isinstance(schedule.start, np.ndarray):
        return np.stack([_fit(schedule.start, content) for content in contents])
    if schedule.start == "noise":
        return image_optimization.gaussian_noise(contents.shape, schedule.settings.seed)
    return contents


def _fit_all(images: Pictures, like: Pictures) -> np.ndarray:
    return np.stack([_fit(image, like[0]) for image in images])


def _fit(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    """`image` at the size of `like`, which has its proportions up to rounding."""
    return image if image.shape == like.shape else resample(image, *like.shape[:2])
