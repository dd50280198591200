"""Stylising picture files, each at its own size."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax import compilation, transformer
from metastyle_jax.content_noise import add_noise
from metastyle_jax.data.images import check_minimum_size, read_image, write_png


def stylize_image(params: transformer.Params, image: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """One (H, W, 3) picture in [0, 1]; compiled once per size.

    `noise`: deviation of that on it, see `content_noise.add_noise`; pictures of one size get the
    same.
    """
    return np.asarray(_stylize(params["weights"], params["style"], image[None], noise=noise)[0])


@functools.partial(compilation.jit, static_argnames="noise")
def _stylize(weights: Any, style: Any, images: jax.Array, *, noise: float) -> jax.Array:
    return transformer.stylize(weights, style, add_noise(jax.random.key(0), images, noise))


def read_content(path: Path) -> np.ndarray:
    """Read a picture that is to be stylised, (H, W, 3) in [0, 1].

    Raises:
      UserError: it cannot be read, or is smaller than the network can take.
    """
    image = read_image(path)
    check_minimum_size(image, path)
    return image


def stylize_files(
    params: transformer.Params,
    paths: Iterable[Path],
    folder: Path,
    *,
    noise: float = 0.0,
    done: Callable[[Path], Any] = lambda path: None,
) -> list[Path]:
    """Write `folder`/NAME.png for every picture.

    Args:
      params: of the stylizer.
      paths: pictures to read.
      folder: made if needed.
      noise: see `stylize_image`.
      done: called with each file written.

    Returns:
      The files written, in the order of `paths`.

    Raises:
      UserError: a picture cannot be read or written; those before it are there.
    """
    paths = list(paths)
    written = []
    for path, name in zip(paths, output_names(paths), strict=True):
        target = folder / f"{name}.png"
        write_png(target, stylize_image(params, read_content(path), noise))
        written.append(target)
        done(target)
    return written


def output_names(paths: Iterable[Path]) -> list[str]:
    """A name for the result of each file: its stem, numbered where several share one."""
    seen: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 2
        while name in seen:
            name, number = f"{path.stem}_{number}", number + 1
        seen.add(name)
        names.append(name)
    return names
