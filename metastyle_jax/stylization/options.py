"""What is done around the network when a picture is drawn: scale, colors, strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from metastyle_jax.data import images, resizing
from metastyle_jax.errors import UserError
from metastyle_jax.stylization import dark_spots

Draw = Callable[[np.ndarray], np.ndarray]
Colors = Literal["style", "luminance", "covariance"]
COLORS: tuple[Colors, ...] = ("style", "luminance", "covariance")

STRONGEST = 1.5
STROKE_SIZES = (0.25, 8.0)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_ROWS = 256  # converted at a time, so that floats of a whole large picture are never in memory


@dataclasses.dataclass(frozen=True)
class Options:
    """How a picture is drawn, apart from its style.

    Attributes:
      strength: 0 to 1.5. Below 1 the drawing is mixed with the picture itself, pixel by pixel; 0 is
        the picture. Above 1 the style is moved on, away from the neutral one.
      colors: "style"; or those of the picture: "luminance" takes only light and dark from the
        drawing, "covariance" gives the drawing the mean and the covariance of the picture's colors
        (Gatys et al. 2016, "Preserving color in neural artistic style transfer").
      stroke_size: 0.25 to 8. The network sees the picture at 1 / stroke_size of its size, so that
        strokes are larger; above 1 the drawing, enlarged, is drawn once more, so that it is sharp.
      size: short side of the drawing, pixels; None keeps that of the picture.
      spots: dark spots on what the network sees; colors and strength are those of the picture
        without them.
    """

    strength: float = 1.0
    colors: Colors = "style"
    stroke_size: float = 1.0
    size: int | None = None
    spots: tuple[dark_spots.Spot, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
          ValueError: a value is out of its range.
        """
        if not 0 <= self.strength <= STRONGEST:
            raise ValueError(f"strength is 0 to {STRONGEST:g}, not {self.strength:g}")
        if self.colors not in COLORS:
            raise ValueError(f"colors is one of {', '.join(COLORS)}, not {self.colors!r}")
        if not STROKE_SIZES[0] <= self.stroke_size <= STROKE_SIZES[1]:
            low, high = STROKE_SIZES
            raise ValueError(f"stroke_size is {low:g} to {high:g}, not {self.stroke_size:g}")
        if self.size is not None and self.size < images.MINIMUM_SIDE:
            raise ValueError(f"size is {images.MINIMUM_SIDE} or more, not {self.size}")

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the drawing of a picture of that size."""
        if self.size is None:
            return height, width
        return resizing.resized_sides(height, width, self.size)


def sized(options: Options, image: np.ndarray) -> np.ndarray:
    """A picture or mask (H, W, C) at the size at which it is drawn."""
    return image if options.size is None else resizing.resize_short_side(image, options.size)


def draw(options: Options, network: Draw, image: np.ndarray) -> np.ndarray:
    """Draw a picture.

    Args:
      options: how.
      network: draws (h, w, 3), any h and w from 16 up, as the same shape and dtype.
      image: (H, W, 3), uint8 or float32 in [0, 1], of the size of the drawing, see `sized`.

    Returns:
      (H, W, 3) of the same dtype.

    Raises:
      UserError: `stroke_size` leaves too little of the picture.
    """
    if options.strength == 0:
        return image
    drawn = _at_stroke_size(options, network, _with_spots(options, image))
    if options.colors == "luminance":
        drawn = by_rows(_with_luminance_of, image, drawn)
    elif options.colors == "covariance":
        drawn = _with_covariance_of(image, drawn)
    if options.strength < 1:
        strength = np.float32(options.strength)
        drawn = by_rows(lambda x, y: x + strength * (y - x), image, drawn)
    return drawn


def _with_spots(options: Options, image: np.ndarray) -> np.ndarray:
    if not options.spots:
        return image
    height, width = image.shape[:2]

    def darken(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return x * dark_spots.mask(options.spots, height, width, rows.reshape(-1))[..., None]

    return by_rows(darken, image, np.arange(height, dtype=np.float32)[:, None, None])


def _at_stroke_size(options: Options, network: Draw, image: np.ndarray) -> np.ndarray:
    if options.stroke_size == 1:
        return network(image)
    height, width = image.shape[:2]
    seen = tuple(round(side / options.stroke_size) for side in (height, width))
    if min(seen) < images.MINIMUM_SIDE:
        raise UserError(
            f"a stroke size of {options.stroke_size:g} leaves {seen[1]}x{seen[0]} pixels of "
            f"{width}x{height}: the network needs {images.MINIMUM_SIDE}; give a smaller stroke size"
        )
    drawn = resizing.resample(network(resizing.resample(image, *seen)), height, width)
    return network(drawn) if options.stroke_size > 1 else drawn


def by_rows(function: Callable[..., np.ndarray], *pictures: np.ndarray) -> np.ndarray:
    """Apply a function of float32 pixels to pictures (H, W, C), some rows at a time.

    The result has the dtype of the first one.
    """
    out = np.empty_like(pictures[0])
    for rows in _blocks(len(out)):
        values = function(*(images.as_float(picture[rows]) for picture in pictures))
        values = np.clip(values, 0, 1)
        out[rows] = images.as_uint8(values) if out.dtype == np.uint8 else values
    return out


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, rows, _ROWS))


def _with_luminance_of(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The picture, as light and as dark as the drawing is."""
    return image + ((drawn - image) @ _LUMA)[..., None]


def _with_covariance_of(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The drawing, with mean and covariance of the picture's colors.

    The linear map is that of least change (Pitie and Kokaram 2007), by symmetric roots.
    """
    (mean, covariance), (target_mean, target) = _moments(drawn), _moments(image)
    root = _root(covariance)
    inverse = np.linalg.inv(root)
    matrix = (inverse @ _root(root @ target @ root) @ inverse).astype(np.float32)
    shift = (target_mean - matrix @ mean).astype(np.float32)
    return by_rows(lambda x: x @ matrix.T + shift, drawn)


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of the colors, float64."""
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for rows in _blocks(len(image)):
        colors = images.as_float(image[rows]).reshape(-1, 3).astype(np.float64)
        count, total, products = (
            count + len(colors),
            total + colors.sum(axis=0),
            products + colors.T @ colors,
        )
    mean = total / count
    # a picture of one color has no covariance to invert
    return mean, products / count - np.outer(mean, mean) + 1e-6 * np.eye(3)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root of a symmetric, positive (3, 3)."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
