"""What is done around the network, with drawings that are simple functions of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.stylization.dark_spots import Spot, mask
from metastyle_jax.stylization.options import Options, draw, sized

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.random((300, 20, 3), np.float32)  # more rows than are converted at a time
LUMA = [0.299, 0.587, 0.114]


def inverted(image):
    return 255 - image if image.dtype == np.uint8 else 1 - image


def test_strength_mixes_pixels():
    for strength in (0.0, 0.25, 1.0, 1.5):
        drawn = draw(Options(strength=strength), inverted, PICTURE)
        share = min(strength, 1)  # above 1 the caller moves the style
        expected = (1 - share) * PICTURE + share * (1 - PICTURE)
        np.testing.assert_allclose(drawn, expected, atol=1e-6)


def test_bytes_stay_bytes():
    picture = np.rint(255 * PICTURE).astype(np.uint8)
    drawn = draw(Options(strength=0.5), inverted, picture)
    assert drawn.dtype == np.uint8
    assert set(np.unique(drawn)) <= {127, 128}


def test_luminance_is_that_of_the_drawing_and_chroma_that_of_the_picture():
    picture, other = 0.4 + 0.2 * PICTURE, 0.4 + 0.2 * PICTURE[::-1]
    drawn = draw(Options(colors="luminance"), lambda image: other, picture)
    np.testing.assert_allclose(drawn @ LUMA, other @ LUMA, atol=1e-6)
    for channel in (0, 2):  # Cb and Cr, up to factors
        np.testing.assert_allclose(
            drawn[..., channel] - drawn @ LUMA,
            picture[..., channel] - picture @ LUMA,
            atol=1e-6,
        )


def test_covariance_of_the_colors_is_that_of_the_picture():
    mixing = RANDOM.random((3, 3)).astype(np.float32) / 3
    picture, other = 0.3 + 0.3 * PICTURE @ mixing, 0.5 + 0.1 * PICTURE[::-1]
    drawn = draw(Options(colors="covariance"), lambda image: other, picture)
    for moment in (lambda x: x.mean(axis=0), lambda x: np.cov(x.T)):
        np.testing.assert_allclose(
            moment(drawn.reshape(-1, 3)), moment(picture.reshape(-1, 3)), atol=2e-3
        )
    # a drawing that has them already stays as it is
    same = draw(Options(colors="covariance"), lambda image: image, picture)
    np.testing.assert_allclose(same, picture, atol=1e-4)


def test_a_picture_of_one_color_has_a_covariance_too():
    gray = np.full((20, 20, 3), 0.5, np.float32)
    drawn = draw(Options(colors="covariance"), inverted, gray)
    np.testing.assert_allclose(drawn, gray, atol=1e-5)


def test_the_network_sees_a_smaller_picture_for_larger_strokes():
    seen = []
    drawn = draw(Options(stroke_size=1.25), lambda image: seen.append(image) or image, PICTURE[:50])
    # once small, and once more at the picture's size
    assert [each.shape for each in seen] == [(40, 16, 3), (50, 20, 3)]
    assert drawn.shape == (50, 20, 3)
    seen.clear()
    draw(Options(stroke_size=0.5), lambda image: seen.append(image) or image, PICTURE[:50])
    assert [each.shape for each in seen] == [(100, 40, 3)]


def test_dark_spots_are_on_what_the_network_sees_once_and_on_nothing_else():
    spots = (Spot(0.3, 0.4, 0.1), Spot(0.9, 0.9, 0.15))
    seen = []

    def same(image):
        seen.append(image)
        return image

    expected = PICTURE * mask(spots, 300, 20)[..., None]
    np.testing.assert_allclose(draw(Options(spots=spots), same, PICTURE), expected, atol=1e-6)
    drawn = draw(Options(strength=0.5, spots=spots), same, PICTURE)
    np.testing.assert_allclose(drawn, (PICTURE + expected) / 2, atol=1e-6)
    seen.clear()
    draw(Options(stroke_size=1.25, spots=spots), lambda x: same(x) * 0 + 0.5, PICTURE)
    assert len(seen) == 2 and np.ptp(seen[1]) == 0  # the second time it sees its drawing
    data = np.rint(255 * PICTURE).astype(np.uint8)
    drawn = draw(Options(spots=spots), same, data)
    assert drawn.dtype == np.uint8
    np.testing.assert_allclose(drawn, 255 * expected, atol=1.01)


def test_a_stroke_size_that_leaves_too_little():
    with pytest.raises(UserError, match=r"stroke size of 2 leaves 10x25 pixels of 20x50"):
        draw(Options(stroke_size=2), inverted, PICTURE[:50])


def test_size_is_that_of_the_short_side():
    assert sized(Options(size=40), PICTURE[:30]).shape == (60, 40, 3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"strength": 1.6}, "strength is 0 to 1.5, not 1.6"),
        ({"strength": float("nan")}, "strength is 0 to 1.5"),
        ({"colors": "keep"}, "colors is one of style, luminance, covariance, not 'keep'"),
        ({"stroke_size": 0.1}, "stroke_size is 0.25 to 8, not 0.1"),
        ({"size": 8}, "size is 16 or more, not 8"),
    ],
)
def test_values_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        Options(**option)
