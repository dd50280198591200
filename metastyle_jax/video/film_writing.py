"""Writing films with PyAV: parts that a stopped run leaves whole, joined with the sound."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.video import film_reading
from metastyle_jax.video.film_reading import FULL_RANGE, Film, Frame, av

CODECS = {".mp4": "libx264", ".m4v": "libx264", ".mov": "libx264", ".mkv": "libx264"}
CODECS |= {".webm": "libvpx-vp9"}
ENDINGS = (*CODECS, ".gif")
PART = ".nut"  # keeps times of any unit as they are
# hundredths of a second, of a picture in GIF: browsers show shorter ones for 10; 16 bits
_SHORTEST, _LONGEST = 2, 65_535
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

    GIF shows at most 50 pictures a second, and keeps equal ones as one that lasts longer.

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
            written, lasting = _write_gif(parts, film, temporary)
            arrived = _gif_duration(temporary)
            if arrived != lasting:
                raise UserError(
                    f"{target}: it lasts {arrived / 100:g} s instead of {lasting / 100:g} s; give "
                    "another format"
                )
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


def _write_gif(parts: Sequence[Path], film: Film, target: Path) -> tuple[int, int]:
    """Write the pictures; return the number of frames and their time, hundredths of a second."""
    pictures, starts, count, start = [], [], 0, 0
    for part in map(film_reading.inspect, parts):
        for frame in film_reading.frames(part):
            # a part has a unit of time of its own
            count, start = count + 1, round(100 * part.time_base * frame.time)
            if not starts or start - starts[-1] >= _SHORTEST:
                pictures.append(Image.fromarray(frame.image).quantize(dither=Image.Dither.NONE))
                starts.append(start)
    end = max(start + round(100 / film.rate), starts[-1] + _SHORTEST)
    lasting = np.diff([*starts, end])
    if lasting.max() > _LONGEST:
        raise UserError(
            f"{film.path}: a picture stands still for more than {_LONGEST // 100} s, which GIF "
            "cannot hold: give --out a name that ends in .mkv"
        )
    with target.open("xb") as file:
        pictures[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=[10 * int(each) for each in lasting],
            loop=0,
            disposal=1,
        )
    return count, end - starts[0]


def _gif_duration(path: Path) -> int:
    """Hundredths of a second."""
    with Image.open(path) as gif:
        return sum(each.info.get("duration", 0) // 10 for each in ImageSequence.Iterator(gif))


def count_frames(path: Path) -> int:
    """How many pictures a film holds, by its packets."""
    with film_reading.opened(path) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))
