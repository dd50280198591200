"""Many pictures stylized one after the other: one that fails does not stop the others.

An output counts as done if its header records the same picture bytes, styles, options and package
version that would be used now. File times play no part. A file without such a record is somebody
else's and is not replaced unasked.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from metastyle_jax import __version__
from metastyle_jax.data import images, picture_writer
from metastyle_jax.errors import UserError, check_failures
from metastyle_jax.runtime.progress import Pace
from metastyle_jax.storage import overwriting
from metastyle_jax.storage.atomic import check_name, prepare_folder
from metastyle_jax.stylization import picture_files, tiling
from metastyle_jax.stylization.blending import Regions
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import DEFAULT, Stylizer

_LOG = logging.getLogger(__name__)

_SLOW = 1.0  # megapixels, from which on a picture is announced before it is drawn
_EVERY = 10.0  # seconds between two lines on one picture
_NOT_OURS = "is there, and metastyle did not draw it"
# errors of the folder, not of a picture: the next one would fail likewise, after the same work
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What is made of every picture.

    Attributes:
      draw: of (H, W, 3), uint8 or float32 in [0, 1], makes a picture of the same dtype, of the size
        that `options` say; calls its argument `progress` with the share that is done.
      recipe: says all that `draw` depends on, in any form.
      ending: format of the outputs, see `picture_files.output_files`.
      quality: of JPEG and WebP, 1 to 100.
      suffix: what the names of the outputs end in, so that several drawings of a picture differ.
      options: which `draw` draws with.
    """

    draw: Callable[..., np.ndarray]
    recipe: str
    ending: str = ""
    quality: int = picture_writer.QUALITY
    suffix: str = ""
    options: Options = DEFAULT


@dataclasses.dataclass(frozen=True)
class Job:
    """A picture to draw.

    Attributes:
      path: where it is.
      target: where the drawing goes.
      size: width and height by its header.
      drawing: what is made of it.
    """

    path: Path
    target: Path
    size: tuple[int, int]
    drawing: Drawing

    @property
    def megapixels(self) -> float:
        return self.size[0] * self.size[1] / 1e6


@dataclasses.dataclass
class Outcome:
    """What became of the pictures.

    Attributes:
      written: files, in order.
      skipped: files that were there and are as they would be drawn again.
      failures: a sentence on each picture that could not be done; it begins with its file.
    """

    written: list[Path] = dataclasses.field(default_factory=list)
    skipped: list[Path] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    def check(self, verb: str = "stylized") -> None:
        """Say at the end what failed.

        Raises:
          PartialFailure: some pictures failed and others did not.
          UserError: all of them failed.
        """
        done = len(self.written) + len(self.skipped)
        check_failures(self.failures, done, verb)


def drawing_of(
    artist: Stylizer | Regions,
    options: Options = DEFAULT,
    ending: str = "",
    quality: int = picture_writer.QUALITY,
    suffix: str = "",
) -> Drawing:
    """What a stylizer, or several in regions, make of every picture; see `Drawing`."""
    recipe = f"{artist.recipe} {options}"
    draw = functools.partial(artist.draw, options=options)
    return Drawing(draw, recipe, ending, quality, suffix, options)


def run(
    drawings: Sequence[Drawing],
    paths: Sequence[Path],
    folder: Path,
    *,
    inputs: Sequence[Path] = (),
    redo: bool = False,
    say: Callable[[str], None] = _LOG.info,
) -> Outcome:
    """Write a file in `folder` for every drawing of every picture that can be read.

    All headers are read first, so that what is no picture is known at once and decoded never;
    each picture is decoded once for each drawing.

    Args:
      drawings: what is made of each picture; they have different suffixes.
      paths: pictures to read.
      folder: made if there is anything to write.
      inputs: other files that must not be written over, such as the style.
      redo: draw again what is done, and replace files that were not drawn here.
      say: called with a line of progress.

    Returns:
      What became of them; `Outcome.check` raises what is to be said of failures.

    Raises:
      UserError: an output is an input, or `folder` cannot be written to; nothing has been written.
    """
    outcome = Outcome()
    targets = [
        picture_files.output_files(paths, folder, each.ending, each.suffix) for each in drawings
    ]
    overwriting.refuse_overwriting(itertools.chain(*targets), [*paths, *inputs])
    jobs = _readable(paths, drawings, list(zip(*targets, strict=True)), outcome, say)
    if not redo:
        jobs = _to_do(jobs, outcome)
        if outcome.skipped:
            say(f"skipped {_count(outcome.skipped)} done before (--redo draws them again)")
    if jobs:
        prepare_folder(folder)
        _draw(jobs, outcome, say)
    return outcome


def _count(files: Sequence[Path]) -> str:
    return "1 picture that was" if len(files) == 1 else f"{len(files)} pictures that were"


def _readable(
    paths: Sequence[Path],
    drawings: Sequence[Drawing],
    targets: Sequence[Sequence[Path]],
    outcome: Outcome,
    say: Callable[[str], None],
) -> list[Job]:
    """Jobs for the files whose header is that of a picture and whose outputs can be written.

    `targets` has an output of each file for each drawing.
    """
    jobs = []
    for path, outputs in zip(paths, targets, strict=True):
        try:
            header = images.inspect_image(path)
            for target, drawing in zip(outputs, drawings, strict=True):
                check_name(target)
                _check_sides(path, target, drawing.options.sides(header.height, header.width))
        except UserError as error:
            outcome.failures.append(_about(path, error))
            continue
        for note in header.notes:
            say(f"{path}: {note}")
        jobs += [
            Job(path, target, header[:2], drawing)
            for target, drawing in zip(outputs, drawings, strict=True)
        ]
    return jobs


def _check_sides(path: Path, target: Path, sides: tuple[int, int]) -> None:
    remedy = "take another --format, such as png, or a smaller --size"
    picture_writer.check_sides(path, picture_writer.ending_of(target), *sides, by=remedy)


def _to_do(jobs: list[Job], outcome: Outcome) -> list[Job]:
    """The jobs that are not done, and whose target holds nothing of somebody else."""
    left = []
    for job in jobs:
        record = picture_writer.read_record(job.target)
        if record is None and os.path.lexists(job.target):
            remedy = "choose another --out, or replace it with --redo"
            outcome.failures.append(f"{job.path}: {job.target} {_NOT_OURS}: {remedy}")
        elif record is not None and record == _record(job.path.read_bytes(), job.drawing):
            outcome.skipped.append(job.target)
        else:
            left.append(job)
    return left


def refuse_replacing(targets: Iterable[Path]) -> None:
    """For commands that draw all anew: refuse to replace what this package did not draw.

    Raises:
      UserError: names the first such file.
    """
    for target in targets:
        if os.path.lexists(target) and picture_writer.read_record(target) is None:
            raise UserError(f"{target} {_NOT_OURS}: choose another --out")


def _record(data: bytes, drawing: Drawing) -> str:
    """A digest of the bytes of a picture and of all else that its output is made of."""
    recipe = f"{drawing.recipe} {drawing.ending} {drawing.quality} {__version__}"
    return hashlib.sha256(hashlib.sha256(data).digest() + recipe.encode()).hexdigest()


def _draw(jobs: Sequence[Job], outcome: Outcome, say: Callable[[str], None]) -> None:
    progress = _Progress(jobs, say)
    for number, job in enumerate(jobs):
        progress.begin(number)
        try:
            with picture_files.fitting_memory(job.path, *job.size):
                _draw_one(job, progress.during)
        except UserError as error:
            outcome.failures.append(_about(job.path, error))
            if getattr(error.__cause__, "errno", None) in _HOPELESS:
                rest = jobs[number + 1 :]
                outcome.failures += [f"{each.path}: not tried after that" for each in rest]
                return
        else:
            outcome.written.append(job.target)
            progress.end(number)


def _draw_one(job: Job, progress: tiling.Progress) -> None:
    drawing = job.drawing
    data = images.read_bytes(job.path)
    layers = picture_files.decode_content(data, job.path)
    drawn, opacity = drawing.draw(layers.colors, progress=progress), layers.opacity
    if opacity is not None and opacity.shape != drawn.shape[:2]:
        size = (drawn.shape[1], drawn.shape[0])
        opacity = np.asarray(Image.fromarray(opacity).resize(size))
    picture_writer.write_picture(
        job.target,
        drawn,
        opacity=opacity,
        quality=drawing.quality,
        record=_record(data, drawing),
    )


def _about(path: Path, error: UserError) -> str:
    """The sentence of an error, with the picture's name in front if it speaks of another file."""
    return str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}"


class _Progress:
    """A line for each picture, with its rate and the time that those left will take."""

    def __init__(self, jobs: Sequence[Job], say: Callable[[str], None]) -> None:
        self._jobs, self._say = jobs, say
        self._pace, self._start = Pace(), 0.0
        self._number, self._said = 0, 0.0

    def begin(self, number: int) -> None:
        job, self._start = self._jobs[number], time.perf_counter()
        self._number, self._said = number, self._start
        if job.megapixels >= _SLOW:
            size = f"{job.megapixels:.1f} megapixels"
            self._say(f"{number + 1}/{len(self._jobs)} stylizing {job.path}, {size} ...")

    def during(self, done: float) -> None:
        """Say what share of a picture is done, where that takes long."""
        now = time.perf_counter()
        if now - self._said < _EVERY or not 0 < done < 1:
            return
        self._said = now
        left = (now - self._start) / done * (1 - done)
        job = self._jobs[self._number]
        self._say(f"{self._number + 1}/{len(self._jobs)} {job.path}: {done:.0%}, ETA {left:.0f} s")

    def end(self, number: int) -> None:
        job, seconds = self._jobs[number], max(time.perf_counter() - self._start, 1e-9)
        self._pace.took(job.size, seconds)
        left = self._pace.expected(each.size for each in self._jobs[number + 1 :])
        self._say(
            f"{number + 1}/{len(self._jobs)} {job.path} -> {job.target} | {seconds:.1f} s, "
            f"{job.megapixels / seconds:.2g} megapixels/s ETA "
            + ("-" if left is None else f"{left:.0f} s")
        )
