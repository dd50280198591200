"""What `adapt` reads: the style image and the contents."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from metastyle_jax.data import images, input_files
from metastyle_jax.data.resizing import center_crop_resized, resize_short_side
from metastyle_jax.errors import UserError, check_failures
from metastyle_jax.storage import initialization
from metastyle_jax.stylization import picture_files

EMBEDDED_STYLE = "swirls.jpg"
EVALUATED = 8  # contents that loss_before and loss_after are means over


def sample_style() -> Path:
    """The style image of the demonstration."""
    samples = initialization.sample_images("styles")
    return next(path for path in samples if path.name == EMBEDDED_STYLE)


def read_style(path: Path, size: int) -> np.ndarray:
    """A style image (H, W, 3) in [0, 1], with a short side of at most `size` pixels.

    Raises:
      UserError: it cannot be read, or is too small.
    """
    for note in images.inspect_image(path).notes:
        print(f"{path}: {note}")
    image = picture_files.read_content(path)
    return resize_short_side(image, size) if min(image.shape[:2]) > size else image


def find_contents(args: argparse.Namespace, out: Path) -> list[Path]:
    """The pictures to stylize; those that are no pictures too, which are reported at the end.

    Raises:
      UserError: none of them has the header of a picture.
    """
    if args.content is None:
        return initialization.sample_images("contents")
    pictures = input_files.find_pictures(args.content, "content folder", without=out)
    for note in pictures.notes:
        print(note, file=sys.stderr)
    failures = []
    for path in pictures.files:
        try:
            images.inspect_image(path)
        except UserError as error:
            failures.append(str(error))
    if len(failures) == len(pictures.files):
        check_failures(failures, 0, "stylized")
    return list(dict.fromkeys(pictures.files))


def center_crops(contents: list[Path], size: int) -> np.ndarray:
    """Of the first contents that can be read, (N, size, size, 3).

    Raises:
      UserError: none can be read.
    """
    crops, failures = [], []
    for path in contents:
        if len(crops) == EVALUATED:
            break
        try:
            crops.append(center_crop_resized(picture_files.read_content(path), size))
        except UserError as error:
            failures.append(str(error))
    if not crops:
        check_failures(failures, 0, "stylized")
    return np.stack(crops)
