"""How well features tell artworks apart: cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from metastyle_jax.studies.features import matching


def plain(*corners: tuple[float, float, float]) -> np.ndarray:
    """12 x 16 pixels of one color, or of two: that of the upper left, that of the rest."""
    image = np.empty((12, 16, 3), np.float32)
    image[:] = corners[-1]
    image[:6, :6] = corners[0]
    return image


RED, GREEN, BLUE = (1.0, 0.1, 0.1), (0.1, 1.0, 0.1), (0.1, 0.1, 1.0)


def itself(images):
    return [images, images**2]


def test_corners_are_squares_that_do_not_overlap():
    image = np.arange(12 * 16 * 3, dtype=np.float32).reshape(12, 16, 3)
    first, second = matching.corners(image)
    np.testing.assert_array_equal(first, image[:6, :6])
    np.testing.assert_array_equal(second, image[6:, 10:])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([plain(RED), plain(GREEN), plain(BLUE)], 1.0),
        # each corner has its double in the next picture
        ([plain(RED, GREEN), plain(GREEN, BLUE), plain(BLUE, RED)], 0.0),
        ([plain(RED), plain(GREEN, BLUE), plain(BLUE, GREEN), plain((1.0, 1.0, 1.0))], 0.5),
        # a picture without features is like no other, and disturbs none
        ([plain(RED), plain((0.0, 0.0, 0.0)), plain(GREEN)], 2 / 3),
    ],
)
def test_share_matched(images, expected):
    assert matching.share_matched(itself, images) == expected
