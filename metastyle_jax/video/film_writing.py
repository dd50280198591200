"""Writing films with PyAV: parts that a stopped run leaves whole, joined with the sound."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.video import film_reading
from metastyle_jax.video.film_reading import FULL_RANGE, Film, Frame, av

CODECS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264"}
CODECS |= {".webm": "libvpx-vp9"}
ENDINGS = (*CODECS, ".gif")
PART = ".nut"  # keeps times of any unit as they are
_BT709 = 1


def write_part(path: Path, film: Film, frames: Sequence[Frame], codec: str, quality: int) -> None:
    """Write some frames as a film without sound, whole or not at all.

    Args:
      path: file to write.
      film: that they are of.
      frames: of one size, one or more.
      codec: of `CODECS`.
      quality: constant rate factor, 0 to 51; less is better.
    """
    height, width = frames[0].image.shape[:2]
    # pictures of half the color resolution have even sides
    layout = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="nut") as container:
        stream = container.add_stream(codec, rate=film.rate)
        stream.width, stream.height, stream.pix_fmt = width, height, layout
        # without pictures that depend on later ones, parts follow each other without a gap
        options = {"bf": "0", "crf": str(quality)}
        stream.options = options | ({"b": "0"} if codec == "libvpx-vp9" else {"preset": "medium"})
        context = stream.codec_context
        context.time_base = film.time_base
        color_range = FULL_RANGE if film.full_range else 1
        context.color_range, context.colorspace = color_range, _BT709
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24").reformat(
                format=layout, dst_colorspace=_BT709, dst_color_range=color_range
            )
            picture.pts, picture.time_base = frame.time, film.time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def join(parts: Sequence[Path], film: Film, target: Path, frames: int) -> None:
    """Join parts and the sound of a film to one file, whole or not at all.

    Args:
      parts: as `write_part` wrote them, in order.
      film: whose sound is copied.
      target: file to write.
      frames: their number, which the file must hold.

    Raises:
      UserError: the file cannot be written, its format cannot hold this sound, or frames are lost;
        a file that was there stays.
    """
    with atomic_path(target) as temporary:
        if target.suffix.lower() == ".gif":
            _write_gif(parts, film, temporary)
        else:
            _mux(parts, film, temporary)
        written = count_frames(temporary)
        if written != frames:
            raise UserError(f"{target}: {written} of {frames} frames arrived; give another format")


def _mux(parts: Sequence[Path], film: Film, target: Path) -> None:
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(film_reading.opened(film.path))
        first = stack.enter_context(film_reading.opened(parts[0]))
        output = stack.enter_context(av.open(str(target), "w"))
        try:
            picture = output.add_stream_from_template(first.streams.video[0])
            sounds = {
                each.index: output.add_stream_from_template(each) for each in source.streams.audio
            }
            streams = [_packets(parts, picture)]
            if sounds:
                streams.append(_sound_packets(source, sounds))
            for _, packet in heapq.merge(*streams, key=lambda pair: pair[0]):
                output.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            raise UserError(
                f"{target.suffix} cannot hold the sound of {film.path} ({error}): give --out a "
                "name that ends in .mkv"
            ) from error


def _packets(parts: Sequence[Path], stream: Any) -> Iterator[tuple[float, Any]]:
    for part in parts:
        with film_reading.opened(part) as container:
            for packet in container.demux(video=0):
                if packet.size > 0:
                    packet.dts = packet.pts  # frames are shown in the order of the file
                    packet.stream = stream
                    yield float(packet.dts * packet.time_base), packet


def _sound_packets(source: Any, sounds: dict[int, Any]) -> Iterator[tuple[float, Any]]:
    for packet in source.demux(list(source.streams.audio)):
        if packet.dts is not None:
            packet.stream = sounds[packet.stream.index]
            yield float(packet.dts * packet.time_base), packet


def _write_gif(parts: Sequence[Path], film: Film, target: Path) -> None:
    pictures, times = [], []
    for part in parts:
        for frame in film_reading.frames(film_reading.inspect(part)):
            pictures.append(Image.fromarray(frame.image).quantize(dither=Image.Dither.NONE))
            times.append(frame.time)
    step = 1 / (film.rate * film.time_base)
    lasting = np.diff([*times, times[-1] + float(step)]) * float(film.time_base) * 1000
    with target.open("xb") as file:
        pictures[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=[max(20, round(float(each))) for each in lasting],
            loop=0,
            disposal=1,
        )


def count_frames(path: Path) -> int:
    """How many pictures a film holds, by its packets."""
    with film_reading.opened(path) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))
