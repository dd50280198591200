"""Pairs of a content and a style for the optimization of pixels: read, checked and grouped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.storage.atomic import check_name
from metastyle_jax.stylization import picture_files


@dataclasses.dataclass(frozen=True)
class Pair:
    """One picture to make: the files of its content and style, and its name."""

    content: Path
    style: Path
    name: str


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures of pairs.

    Attributes:
      images: (H, W, 3) in [0, 1] of each file that could be read.
      failures: a sentence on each file that could not.
    """

    images: dict[Path, np.ndarray]
    failures: dict[Path, str]


def make_pairs(contents: Sequence[Path], styles: Sequence[Path]) -> list[Pair]:
    """Contents and styles in order; a single content or style is paired with all others.

    Raises:
      UserError: there are several of both, but not equally many.
    """
    count = max(len(contents), len(styles))
    if {len(contents), len(styles)} - {1, count}:
        raise UserError(
            f"{len(contents)} contents and {len(styles)} styles do not make pairs: give as many of "
            "both, or one of either"
        )
    together = [(contents[i % len(contents)], styles[i % len(styles)]) for i in range(count)]
    files = [Path(f"{content.stem}_{style.stem}.png") for content, style in together]
    names = picture_files.output_names(files)
    return [Pair(*pair, name) for pair, name in zip(together, names, strict=True)]


def read_pictures(pairs: Sequence[Pair]) -> Pictures:
    """Read all contents and styles, each file once. A file that cannot be read is a failure."""
    result = Pictures({}, {})
    for path in dict.fromkeys(path for pair in pairs for path in (pair.content, pair.style)):
        try:
            result.images[path] = picture_files.read_content(path)
        except UserError as error:
            result.failures[path] = str(error)
    return result


def usable_pairs(
    pairs: Sequence[Pair], pictures: Pictures, files: Callable[[Pair], Sequence[Path]]
) -> tuple[list[Pair], list[str]]:
    """The pairs whose pictures were read and whose files can have their names.

    Args:
      pairs: all of them.
      pictures: of `read_pictures`.
      files: what will be written for a pair.

    Returns:
      (those pairs, a sentence on each of the others).
    """
    usable, failures = [], []
    for pair in pairs:
        reasons = [
            pictures.failures[p] for p in (pair.content, pair.style) if p in pictures.failures
        ]
        try:
            for file in [] if reasons else files(pair):
                check_name(file)
        except UserError as error:
            reasons.append(str(error))
        if reasons:
            failures.append(reasons[0])
        else:
            usable.append(pair)
    return usable, failures


def check_sizes(
    pairs: Sequence[Pair], objective: perceptual.Objective, content_size: int, style_size: int
) -> None:
    """Refuse sizes at which a layer of the losses would have no pixel.

    Args:
      pairs: whose pictures will be resized.
      objective: the losses.
      content_size, style_size: least short sides in pixels.

    Raises:
      UserError: naming a picture, its size and the layer.
    """
    for path, size, layers in (
        *((pair.content, content_size, objective.layers) for pair in pairs),
        *((pair.style, style_size, objective.style_layers) for pair in pairs),
    ):
        deepest = max(layers, key=lambda layer: layer[4], default="relu1_1")
        if size >> (int(deepest[4]) - 1) < 1:
            raise UserError(
                f"{path}: resized to a short side of {size} pixels it is too small for {deepest}: "
                "use larger --sizes"
            )


def group(
    pairs: Sequence[Pair],
    images: Mapping[Path, np.ndarray],
    objective: perceptual.Objective,
    most: int,
) -> Iterator[list[Pair]]:
    """Group pairs that one program can take: of one aspect ratio, styles too for random losses.

    Args:
      pairs: all of them.
      images: (H, W, 3) of each of their files.
      objective: the losses.
      most: pairs of a group.
    """
    groups: dict[Any, list[Pair]] = {}
    for pair in pairs:
        content, style = (images[path].shape for path in (pair.content, pair.style))
        proportions = content[0] / content[1], style[0] / style[1]
        key = proportions if objective.style_loss.random else proportions[0]
        groups.setdefault(key, []).append(pair)
    for result in groups.values():
        yield from (result[i : i + most] for i in range(0, len(result), most))
