"""Random variations: what is drawn, and what is made of it, with a tiny network."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import metastyle_jax as ms
import tiny
from metastyle_jax.stylization import dark_spots, sliders, variations
from metastyle_jax.stylization.stylizer import Record, Stylizer

LAYERS = ("relu1_1", "relu2_2")


@functools.cache
def stylizer(with_sliders: bool = True) -> Stylizer:
    params = tiny.adjustable_parameters()
    moved = sliders.Sliders(params["adjuster"], params["style"], LAYERS) if with_sliders else None
    return Stylizer(params["weights"], params["style"], 0.0, Record("tiny"), moved)


def photo(height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def weights(**options) -> np.ndarray:
    """(N, L)."""
    drawn = variations.draw(stylizer(), variations.MOST, **options)
    return np.array([[each.alpha[layer] for layer in LAYERS] for each in drawn])


def test_weights_are_uniform_and_a_function_of_seed_and_number():
    one, again, other = weights(seed=1), weights(seed=1, content_noise=True), weights(seed=2)
    np.testing.assert_array_equal(one, again)  # dark spots change nothing of them
    assert one.min() >= 0 and one.max() <= 1
    for different in (other, one[:, ::-1], np.roll(one, 1, axis=0)):
        assert (one != different).mean() > 0.99
        # independent: the standard deviation of such a correlation is 1 / sqrt(N)
        for ours, theirs in zip(one.T, different.T, strict=True):
            assert abs(np.corrcoef(ours, theirs)[0, 1]) < 5 / np.sqrt(len(one))
    # as many in each tenth as in the others, within five standard deviations
    for column in one.T:
        shares, expected = np.histogram(column, bins=10, range=(0, 1))[0], len(column) / 10
        assert np.abs(shares - expected).max() < 5 * np.sqrt(0.9 * expected)


def test_another_count_has_the_same_first_ones():
    many = variations.draw(stylizer(), 7, seed=3, content_noise=True)
    assert variations.draw(stylizer(), 4, seed=3, content_noise=True) == many[:4]
    assert [each.number for each in many] == [1, 2, 3, 4, 5, 6, 7]
    assert len({each.spots for each in many}) == 7
    others = variations.draw(stylizer(), 7, seed=4, content_noise=True)
    assert not any(each in others for each in many)


def test_named_weights_stay_and_the_others_are_drawn_as_without_them():
    plain = variations.draw(stylizer(), 5, seed=1)
    kept = variations.draw(stylizer(), 5, seed=1, alpha={LAYERS[0]: 0.25})
    for free, each in zip(plain, kept, strict=True):
        assert each.alpha == {LAYERS[0]: 0.25, LAYERS[1]: free.alpha[LAYERS[1]]}


def test_pictures_are_those_of_the_stylizer_at_the_weights():
    drawn = ms.variations(stylizer(), photo(), 3, seed=5)
    expected = variations.draw(stylizer(), 3, seed=5)
    for (picture, alpha), variation in zip(drawn, expected, strict=True):
        assert alpha == variation.alpha
        np.testing.assert_array_equal(picture, stylizer().at(alpha)(photo()))
    assert np.ptp([picture for picture, _ in drawn], axis=0).max() > 20


@pytest.mark.parametrize("with_sliders", [True, False])
def test_with_content_noise_the_network_sees_the_picture_times_the_mask(with_sliders):
    image = photo().astype(np.float32) / 255
    drawn = ms.variations(stylizer(with_sliders), image, 3, seed=5, content_noise=True)
    numbers = variations.draw(stylizer(with_sliders), 3, seed=5, content_noise=True)
    for (picture, alpha), variation in zip(drawn, numbers, strict=True):
        assert set(alpha) == set(LAYERS if with_sliders else ())
        plain = stylizer().at(alpha) if with_sliders else stylizer(False)
        seen = image * dark_spots.mask(variation.spots, 20, 24)[..., None]
        np.testing.assert_allclose(picture, plain(seen), atol=1e-5)
        assert np.abs(picture - plain(image)).max() > 0.05


def test_every_kind_of_picture_comes_back_as_it_was_given():
    draw = functools.partial(ms.variations, stylizer(), count=1, content_noise=True)
    (((expected, _),), ((image, _),), ((array, _),)) = (
        draw(picture) for picture in (photo(), Image.fromarray(photo()), jnp.asarray(photo()))
    )
    assert isinstance(image, Image.Image) and array.dtype == jnp.uint8
    for other in (image, array):
        np.testing.assert_array_equal(np.asarray(other), expected)


def test_a_line_says_the_weights_and_the_number_of_spots():
    spots = (dark_spots.Spot(0.5, 0.5, 0.1),) * 2
    alpha = {"relu1_1": 0.25, "relu2_2": 1.0}
    for drawn, line in (
        ((3, alpha, ()), "variation 3: relu1_1:0.25,relu2_2:1"),
        ((3, {}, spots[:1]), "variation 3: 1 dark spot"),
        ((3, alpha, spots), "variation 3: relu1_1:0.25,relu2_2:1, 2 dark spots"),
    ):
        assert str(variations.Variation(*drawn)) == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "number of variations must be between 1 and 999, got 0"),
        ({"seed": -1}, "the seed must be between 0"),
        ({"alpha": dict.fromkeys(LAYERS, 1.0)}, "alpha names all style layers of tiny"),
        ({"alpha": {"relu5_1": 1.0}}, "tiny has no weight for relu5_1"),
        ({"alpha": {"relu1_1": 2.0}}, "weight of relu1_1 must be between 0 and 1"),
    ],
)
def test_mistakes_are_one_sentence(options, message):
    with pytest.raises(ms.UserError, match=message):
        ms.variations(stylizer(), photo(), **{"count": 2, **options})


def test_a_style_without_sliders_needs_content_noise():
    with pytest.raises(ms.UserError, match=r"tiny has no weights .* add --content-noise"):
        ms.variations(stylizer(False), photo(), 2)
    with pytest.raises(ms.UserError, match="tiny has one style and no weights of layers"):
        ms.variations(stylizer(False), photo(), 2, content_noise=True, alpha={LAYERS[0]: 1.0})
