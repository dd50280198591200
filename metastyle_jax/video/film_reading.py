"""Reading films with PyAV: what they are, and their frames as they are meant to be seen."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage.home_folder import is_file

# None without the extra; `check_installed` says so
av: Any = importlib.import_module("av") if importlib.util.find_spec("av") else None

FULL_RANGE = 2  # AVCOL_RANGE_JPEG: 0 to 255 instead of 16 to 235


def check_installed() -> None:
    """Raise `UserError` without PyAV."""
    if av is None:
        raise UserError("films need PyAV: pip install 'metastyle_jax[video]'")


@dataclasses.dataclass(frozen=True)
class Film:
    """What is kept of a film.

    Attributes:
      path: its file.
      time_base: seconds of one unit of time.
      rate: mean frames per second.
      frames: their number by the header; 0 if that does not say.
      full_range: whether its values go from 0 to 255.
    """

    path: Path
    time_base: Fraction
    rate: Fraction
    frames: int
    full_range: bool


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
      image: (H, W, 3) uint8 RGB, upright.
      time: when it is shown, in units of the film's time base.
    """

    image: np.ndarray
    time: int


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open container of PyAV with at least one video stream.

    Raises:
      UserError: the file is missing, no film, or has no picture.
    """
    check_installed()
    if not is_file(path):
        raise UserError(f"{path}: there is no such file; check the name")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(f"{path}: this is no film that can be read ({_reason(error)})") from None
    with container:
        if not container.streams.video:
            raise UserError(f"{path}: the file has no pictures; give a film")
        yield container


def inspect(path: Path) -> Film:
    """Read the header of a film.

    Raises:
      UserError: see `opened`.
    """
    with opened(path) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        frames = stream.frames
        if not frames and stream.duration:
            frames = round(stream.duration * stream.time_base * rate)
        return Film(
            path,
            stream.time_base,
            rate,
            frames,
            stream.codec_context.color_range == FULL_RANGE,
        )


def frames(film: Film) -> Iterator[Frame]:
    """All frames that can be decoded, in order, with times that rise.

    A damaged packet is left out; what is there of the film is read to its end.

    Raises:
      UserError: see `opened`; or no frame can be decoded.
    """
    time, step = -1, max(1, round(1 / film.rate / film.time_base))
    with opened(film.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for picture in _decoded(container, stream):
            following = time + 1 if time >= 0 else 0
            shown = picture.pts if picture.pts is not None else time + step
            time = max(int(shown), following)
            yield Frame(_upright(picture), time)
    if time < 0:
        raise UserError(f"{film.path}: no frame of this film can be decoded; replace the file")


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    try:
        for packet in container.demux(stream):
            with contextlib.suppress(av.error.InvalidDataError):
                yield from packet.decode()
    except av.error.InvalidDataError:
        return  # the end of the file is missing


def _upright(picture: Any) -> np.ndarray:
    # without a mark, films of 720 lines and more are of the newer standard
    newer = picture.height >= 720
    marked = picture.colorspace in (1, 5)
    space = picture.colorspace if marked else (1 if newer else 5)
    image = picture.reformat(format="rgb24", src_colorspace=space).to_ndarray()
    return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90) % 4))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
