"""A film stylized in parts: a run that is stopped goes on where it was."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax import __version__
from metastyle_jax.errors import UserError
from metastyle_jax.storage import folder_lock, overwriting
from metastyle_jax.storage.atomic import atomic_path, write_text
from metastyle_jax.storage.digest import file_digest
from metastyle_jax.storage.home_folder import is_folder
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer
from metastyle_jax.video import film_reading, film_writing
from metastyle_jax.video.frames import FrameStylizer

_LOG = logging.getLogger(__name__)

PART_FRAMES = 48
QUALITY = 18  # constant rate factor of x264: hardly to be told from the drawings
_EVERY = 5.0  # seconds between two lines of progress
_RECIPE = "recipe.json"


def convert(
    stylizer: Stylizer,
    source: Path,
    target: Path,
    *,
    options: Options,
    smooth: bool = True,
    quality: int = QUALITY,
    say: Callable[[str], None] = _LOG.info,
) -> int:
    """Stylize a film; times of the frames, sound and color range are kept.

    Parts lie in TARGET.parts until the film is whole, and the same call goes on with them. One run
    at a time writes there.

    Args:
      stylizer: draws the frames.
      source: film to read.
      target: film to write, whole or not at all; its ending says the format.
      options: see `options.Options`.
      smooth: see `frames.FrameStylizer`.
      quality: constant rate factor, 0 to 51; less is better and larger.
      say: called with a line of progress.

    Returns:
      The number of frames.

    Raises:
      UserError: a file cannot be read or written, another run draws this film, or frames would be
        lost.
    """
    film_reading.check_installed()
    if target.suffix.lower() not in film_writing.ENDINGS:
        raise UserError(f"{target}: give --out a name that ends in one of {_endings()}")
    folder = target.with_name(f"{target.name}.parts")
    overwriting.refuse_overwriting([target], [source])
    overwriting.refuse_inside(folder, [source])  # it is removed in the end
    film = film_reading.inspect(source)
    recipe = [file_digest(source), stylizer.recipe, str(options), smooth, quality, __version__]
    drawing = FrameStylizer(stylizer, options, smooth=smooth)
    _refuse_other_files(folder)
    with folder_lock.locked(folder):
        parts = _Parts(folder, [*recipe, target.suffix.lower()])
        total = _draw_parts(film, parts, drawing, quality, say)
        film_writing.join(parts.files(), film, target, total)
        parts.remove()
    with contextlib.suppress(OSError):  # another run has begun there meanwhile
        folder.rmdir()
    return total


def _refuse_other_files(folder: Path) -> None:
    """Refuse a folder, or a file, that is not of `_Parts`."""
    if not is_folder(folder):
        known = not os.path.lexists(folder)
    else:
        # a run that has just begun has nothing but its lock
        known = (folder / _RECIPE).is_file() or not _files(folder)
    if not known:
        raise UserError(f"{folder} is in the way of the parts of the film; move it")


def _files(folder: Path) -> list[Path]:
    """What lies in a folder, apart from its lock."""
    return [path for path in folder.iterdir() if path.name != folder_lock.NAME]


def _endings() -> str:
    return ", ".join(film_writing.ENDINGS)


def _draw_parts(
    film: film_reading.Film,
    parts: _Parts,
    drawing: FrameStylizer,
    quality: int,
    say: Callable[[str], None],
) -> int:
    """Draw what is not there; return the number of frames of the film."""
    codec = film_writing.CODECS.get(parts.ending, "libx264")
    counts = parts.counts()
    if counts:
        say(f"{sum(counts)} frames were drawn before")
        drawing.restore(parts.state(len(counts) - 1))
    frames = film_reading.frames(film)
    skipped = sum(1 for _ in itertools.islice(frames, sum(counts)))
    progress = _Progress(film.frames, skipped, say)
    for number in itertools.count(len(counts)):
        drawn = [
            film_reading.Frame(drawing(frame.image), frame.time)
            for frame in progress.watch(itertools.islice(frames, PART_FRAMES))
        ]
        if not drawn:
            return progress.done
        parts.write(number, film, drawn, codec, quality, drawing.state)
    raise AssertionError("a film without end")


class _Parts:
    """The folder of parts, each with the number of its frames and the state after it."""

    def __init__(self, folder: Path, recipe: list) -> None:
        self._folder, self.ending = folder, recipe[-1]
        text = json.dumps(recipe)
        known = folder / _RECIPE
        if not known.is_file() or known.read_text(encoding="utf-8") != text:
            self.remove()  # of another film or style
            write_text(known, text)

    def _part(self, number: int) -> Path:
        return self._folder / f"part_{number:05d}{film_writing.PART}"

    def _state(self, number: int) -> Path:
        return self._folder / f"part_{number:05d}.npz"

    def files(self) -> list[Path]:
        return list(self._whole())

    def _whole(self) -> Iterator[Path]:
        for number in itertools.count():
            if not (self._part(number).is_file() and self._state(number).is_file()):
                return
            yield self._part(number)

    def counts(self) -> list[int]:
        return [film_writing.count_frames(part) for part in self._whole()]

    def state(self, number: int) -> dict[str, np.ndarray]:
        with np.load(self._state(number), allow_pickle=False) as arrays:
            return dict(arrays)

    def write(
        self,
        number: int,
        film: film_reading.Film,
        frames: list[film_reading.Frame],
        codec: str,
        quality: int,
        state: dict[str, Any],
    ) -> None:
        film_writing.write_part(self._part(number), film, frames, codec, quality)
        with atomic_path(self._state(number)) as temporary, temporary.open("xb") as file:
            np.savez(file, **state)  # last: a part without it is drawn again

    def remove(self) -> None:
        """Remove all but the lock; the recipe last, which says that the folder is one of parts."""
        for path in sorted(_files(self._folder), key=lambda path: path.name == _RECIPE):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


class _Progress:
    """Says frame, rate and time left, now and then."""

    def __init__(self, total: int, skipped: int, say: Callable[[str], None]) -> None:
        self._total, self._skipped, self._say = total, skipped, say
        self.done = skipped
        self._start = self._said = time.perf_counter()

    def watch(self, frames: Iterator[film_reading.Frame]) -> Iterator[film_reading.Frame]:
        for frame in frames:
            yield frame
            self.done += 1
            now = time.perf_counter()
            if now - self._said >= _EVERY or self.done == self._total:
                self._said = now
                self._report(now)

    def _report(self, now: float) -> None:
        rate = (self.done - self._skipped) / max(now - self._start, 1e-9)
        known = f"/{self._total}" if self._total else ""
        left = f"{max(0, self._total - self.done) / rate:.0f} s" if self._total else "-"
        self._say(f"frame {self.done}{known} | {rate:.2g} frames/s ETA {left}")
