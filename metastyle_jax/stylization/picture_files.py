"""Picture files that are stylized: reading, names of the results, messages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from metastyle_jax.data import decoding, picture_writer
from metastyle_jax.data.images import check_minimum_size, read_image
from metastyle_jax.runtime import out_of_memory


def read_content(path: Path) -> np.ndarray:
    """Read a picture that is to be stylized, (H, W, 3) in [0, 1], on white where it is transparent.

    Raises:
      UserError: it cannot be read, or is smaller than the network can take.
    """
    image = read_image(path)
    check_minimum_size(image, path)
    return image


def decode_content(data: bytes, path: Path) -> decoding.Layers:
    """Decode a picture that is to be stylized, its transparency apart.

    Raises:
      UserError: it cannot be read, or is smaller than the network can take.
    """
    with decoding.quiet_about_large_images():
        layers = decoding.decode_layers(io.BytesIO(data), str(path))
    check_minimum_size(layers.colors, path)
    return layers


def fitting_memory(path: Path, width: int, height: int) -> contextlib.AbstractContextManager[None]:
    """For work on one picture: too little memory for it is one sentence.

    Raises:
      OutOfMemory: by the context, naming `path` and the size.
    """
    return out_of_memory.explained(
        f"{path}: there is not enough memory to stylize {width}x{height} pixels; "
        "give a smaller version of the picture"
    )


def output_files(
    paths: Iterable[Path], folder: Path, ending: str = "png", suffix: str = ""
) -> list[Path]:
    """The file in `folder` for each picture, see `output_names`.

    Args:
      paths: pictures that are read.
      folder: of the results.
      ending: of their format, see `picture_writer.FORMATS`; "" keeps that of each picture, or PNG
        if it is another one.
      suffix: what all names end in, before the ending.
    """
    paths = list(paths)
    return [
        folder / f"{name}{suffix}.{ending or picture_writer.ending_of(path) or 'png'}"
        for path, name in zip(paths, output_names(paths), strict=True)
    ]


def output_names(paths: Iterable[Path]) -> list[str]:
    """A name for the result of each file: its stem, numbered where several share one.

    Names that differ in capitals alone count as one: they are on some file systems.
    """
    seen: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 2
        while name.casefold() in seen:
            name, number = f"{path.stem}_{number}", number + 1
        seen.add(name.casefold())
        names.append(name)
    return names
