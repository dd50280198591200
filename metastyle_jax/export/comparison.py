"""An export against `stylize`, on sizes that are odd, square, and no multiple of 4."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from metastyle_jax.data.images import read_image
from metastyle_jax.export import contents
from metastyle_jax.export.contents import Contents, Draw
from metastyle_jax.networks import stylization_network
from metastyle_jax.storage import initialization, quantization

SIZES = ((37, 53), (64, 64), (101, 67))  # height, width
TOLERANCE = 1e-3
_BATCH = 2


class Differences(NamedTuple):
    """Largest and mean absolute differences of pictures in [0, 1].

    Attributes:
      largest: from `stylize` with the weights as the file stores them: rounding of the arithmetic.
      largest_by_rounding, mean_by_rounding: from `stylize` with the weights of the stylizer, which
        adds what storing them in fewer bits changes.
    """

    largest: float
    largest_by_rounding: float
    mean_by_rounding: float


def compare(
    draws: Sequence[Draw], written: Contents, weights: stylization_network.Weights
) -> tuple[Differences, list[str]]:
    """Draw pictures with an export and with `stylize`, two at a time.

    Args:
      draws: each program of the export, read back.
      written: what it was written from.
      weights: of the stylizer, before they were quantized.

    Returns:
      (differences over all `SIZES`, a sentence on each output that has another shape or values that
      are not finite).
    """
    stored = quantization.restore(written.weights)
    vectors = _style_vectors(written)
    styles = contents.styles_of(jnp.asarray(vectors), written.style)
    rows, problems = [], []
    for (height, width), draw in itertools.product(SIZES, draws):
        images = pictures(height, width)
        drawn = np.asarray(draw(images, vectors))
        if drawn.shape != images.shape or not np.isfinite(drawn).all():
            problems.append(f"{width}x{height} pixels gave shape {drawn.shape} or no finite values")
            continue
        inputs = (styles, jnp.asarray(images))
        error = np.abs(drawn - contents.stylize_directly(stored, *inputs))
        change = np.abs(drawn - contents.stylize_directly(weights, *inputs))
        rows.append((error.max(), change.max(), change.mean()))
    if problems:
        return Differences(np.inf, np.inf, np.inf), problems
    largest, by_rounding, means = zip(*rows, strict=True)
    numbers = (max(largest), max(by_rounding), np.mean(means))
    return Differences(*map(float, numbers)), problems


def pictures(height: int, width: int) -> np.ndarray:
    """Crops of embedded sample pictures, (2, height, width, 3) float32 in [0, 1]."""
    files = initialization.sample_images("contents")[:_BATCH]
    return np.stack([_crop(np.asarray(read_image(file)), height, width) for file in files])


def _crop(image: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].astype(np.float32)


def _style_vectors(written: Contents) -> np.ndarray:
    """(2, S): the style; and where the style is an input another one, so that it must be used."""
    vector = contents.style_vector(written.style)
    other = 0.8 * vector if written.style_input else vector
    return np.stack([vector, other])
