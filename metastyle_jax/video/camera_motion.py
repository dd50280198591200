"""How far a picture moved from frame to frame: phase correlation (Kuglin and Hines 1975)."""

from __future__ import annotations

import numpy as np

LARGEST_SIDE = 512  # pixels of the middle that are compared
CLEAR = 0.05  # height of a peak, 1 for one picture that moved; below there is no common motion
CHANCE = 6.0  # times 1 / sqrt(pixels): peaks of two pictures that have nothing in common are lower
LEAST_SHARE = 0.1
BORDER = 0.12  # of a side, on which the comparison fades out
CUT = 0.25  # mean difference of two frames, of 1, from which on they are different scenes


def gray_middle(frame: np.ndarray) -> np.ndarray:
    """The middle of a frame (H, W, 3) uint8, gray: float32 in [0, 1]."""
    height, width = frame.shape[:2]
    top, left = (max(0, (side - LARGEST_SIDE) // 2) for side in (height, width))
    middle = frame[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]
    return middle.mean(axis=-1, dtype=np.float32) / 255


def motion(before: np.ndarray, after: np.ndarray) -> tuple[float, float] | None:
    """Rows and columns by which a picture moved; None at a cut.

    Args:
      before, after: (H, W), see `gray_middle`.

    Returns:
      (down, right) in pixels, with fractions; (0, 0) where no single motion explains the change.
    """
    if before.shape != after.shape or np.abs(after - before).mean() > CUT:
        return None
    window = np.multiply.outer(*(_window(side) for side in before.shape))
    first, second = (np.fft.rfft2((each - each.mean()) * window) for each in (before, after))
    cross = second * np.conj(first)
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), s=before.shape)
    row, column = (int(at) for at in np.unravel_index(int(peaks.argmax()), peaks.shape))
    if peaks[row, column] < max(CLEAR, CHANCE / np.sqrt(before.size)):
        return 0.0, 0.0
    return (
        _signed(row + _fraction(peaks[:, column], row), len(peaks)),
        _signed(column + _fraction(peaks[row], column), peaks.shape[1]),
    )


def _window(size: int) -> np.ndarray:
    """Falls to 0 at the borders only: what moves in the middle is not the camera."""
    at = np.arange(size)
    distance = np.minimum(at, size - 1 - at) / (size * BORDER)
    return np.sin(np.pi / 2 * np.minimum(distance, 1)) ** 2


def _fraction(values: np.ndarray, at: int) -> float:
    """Where between its neighbors a peak lies: the larger neighbor draws it by its share.

    A small share is taken for none: whatever else moves in the picture adds one in every frame.
    """
    left, middle, right = (max(float(values[(at + by) % len(values)]), 0.0) for by in (-1, 0, 1))
    share = max(left, right) / (max(left, right) + middle)
    if share < LEAST_SHARE:
        return 0.0
    return share if right > left else -share


def _signed(shift: float, size: int) -> float:
    return float(shift - size if shift > size / 2 else shift)
