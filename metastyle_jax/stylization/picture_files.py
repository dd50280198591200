"""Stylizing picture files, each at its own size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from metastyle_jax.data.images import check_minimum_size, read_image, write_png
from metastyle_jax.runtime import out_of_memory
from metastyle_jax.stylization.stylizer import Stylizer


def read_content(path: Path) -> np.ndarray:
    """Read a picture that is to be stylized, (H, W, 3) in [0, 1].

    Raises:
      UserError: it cannot be read, or is smaller than the network can take.
    """
    image = read_image(path)
    check_minimum_size(image, path)
    return image


def stylize_file(
    stylizer: Stylizer,
    path: Path,
    image: np.ndarray,
    target: Path,
    *,
    text: Mapping[str, str] | None = None,
) -> None:
    """Stylize one picture that has been read, and write it.

    Args:
      stylizer: draws it.
      path: where the picture was read, for messages.
      image: (H, W, 3) in [0, 1].
      target: PNG file to write, whole or not at all.
      text: see `images.write_png`.

    Raises:
      UserError: it takes more memory than there is, or `target` cannot be written.
    """
    height, width = image.shape[:2]
    with fitting_memory(path, width, height):
        write_png(target, stylizer(image), text)


def fitting_memory(path: Path, width: int, height: int) -> contextlib.AbstractContextManager[None]:
    """For work on one picture: too little memory for it is one sentence.

    Raises:
      OutOfMemory: by the context, naming `path` and the size.
    """
    return out_of_memory.explained(
        f"{path}: there is not enough memory to stylize {width}x{height} pixels; "
        "give a smaller version of the picture"
    )


def output_files(paths: Iterable[Path], folder: Path) -> list[Path]:
    """The PNG file in `folder` for each picture, see `output_names`."""
    return [folder / f"{name}.png" for name in output_names(paths)]


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
