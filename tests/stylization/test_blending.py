"""Blends and regions of styles against arithmetic on the styles, with a tiny network."""

from __future__ import annotations

import dataclasses
import types

import jax
import numpy as np
import pytest

import tiny
from metastyle_jax.errors import UserError
from metastyle_jax.stylization import blending, interpolation
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.sliders import Sliders
from metastyle_jax.stylization.stylizer import Record, Stylizer


def stylizers(count: int = 2) -> list[Stylizer]:
    """Of one network."""
    params = [tiny.parameters(seed) for seed in range(count)]
    as_float = lambda leaf: np.asarray(leaf, np.float32)  # noqa: E731
    weights = jax.tree.map(as_float, params[0]["weights"])
    return [
        Stylizer(weights, jax.tree.map(as_float, each["style"]), 0.1 * n, Record(f"style {n}"))
        for n, each in enumerate(params)
    ]


def picture(height=20, width=24):
    return np.random.default_rng(0).random((height, width, 3), np.float32)


def test_a_blend_is_the_weighted_mean_of_styles_and_noises():
    one, two = stylizers()
    blend = blending.blend([(one, 1.0), (two, 3.0)])
    expected = jax.tree.map(lambda x, y: 0.25 * x + 0.75 * y, one.style, two.style)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), blend.style, expected)
    assert blend.input_noise == pytest.approx(0.075)
    assert blend.record.settings["blend"] == {"style 0": 0.25, "style 1": 0.75}


def test_styles_of_other_weights_are_not_blended():
    one, two = stylizers()
    other = dataclasses.replace(two, weights=jax.tree.map(lambda x: x + 1, two.weights))
    with pytest.raises(UserError, match="style 0 and style 1 have different networks"):
        blending.blend([(one, 1.0), (other, 1.0)])


@pytest.mark.parametrize("shares", [(0, 0), (-1, 2), (np.inf, 1), (np.nan, 1), (1e308, 1e308)])
def test_shares_that_are_none(shares):
    with pytest.raises(UserError, match="shares of a blend are 0 or more"):
        blending.blend(list(zip(stylizers(), shares, strict=True)))


def test_a_region_that_is_everywhere_is_its_style():
    one, two = stylizers()
    one = dataclasses.replace(one, input_noise=0.1)  # the noise is one for the picture
    masks = np.stack([np.zeros((4, 4)), np.ones((4, 4))]).astype(np.float32)
    drawn = blending.Regions([one, two], masks).draw(picture())
    np.testing.assert_allclose(drawn, two.draw(picture()), atol=1e-5)


def test_where_no_mask_is_the_picture_stays():
    (one,) = stylizers(1)
    mask = np.zeros((1, 20, 24), np.float32)
    mask[0, :, 12:] = 1
    drawn = blending.Regions([one], mask).draw(picture())
    np.testing.assert_array_equal(drawn[:, :12], picture()[:, :12])
    np.testing.assert_allclose(drawn[:, 12:], one.draw(picture())[:, 12:], atol=1e-5)


def test_masks_and_styles_are_as_many():
    with pytest.raises(ValueError, match=r"shape \(2, h, w\)"):
        blending.Regions(stylizers(), np.ones((1, 4, 4), np.float32))


def test_a_strength_above_one_moves_the_style_away_from_the_neutral_one(monkeypatch):
    one, neutral = stylizers()
    with pytest.raises(UserError, match=r"style 0 has weights .* strength of at most 1"):
        one.strengthened(1.5)
    one = dataclasses.replace(one, record=Record("style 0", weights_name="start"))
    start = types.SimpleNamespace(params={"style": neutral.style})
    monkeypatch.setattr("metastyle_jax.storage.initialization.load", {"start": start}.get)
    strong = one.strengthened(1.5)
    expected = jax.tree.map(lambda x, n: n + 1.5 * (x - n), one.style, neutral.style)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), strong.style, expected)
    assert one.strengthened(1.0) is one
    drawn = one(picture(), strength=1.5)
    np.testing.assert_allclose(drawn, strong.draw(picture()), atol=1e-6)


def test_options_of_a_call_equal_those_of_draw():
    (one,) = stylizers(1)
    kept = one(picture(), colors="luminance", strength=0.5)
    np.testing.assert_array_equal(kept, one.draw(picture(), Options(0.5, "luminance")))
    batch = np.stack([picture(), picture()[::-1]])
    assert one(batch, size=30).shape == (2, 30, 36, 3)


@pytest.mark.parametrize(("styles", "shape"), [(1, (1, 3)), (2, (3, 3)), (3, (3, 3)), (4, (3, 3))])
def test_corners_of_a_grid_are_the_styles(styles, shape):
    artists = stylizers(styles)
    rows = interpolation.grid(artists, picture(), 3)
    assert (len(rows), len(rows[0])) == shape
    corners = {
        1: [(0, -1)],
        2: [(-1, 0), (-1, -1)],
        3: [(0, 0), (0, -1), (-1, 0)],
        4: [(0, 0), (0, -1), (-1, 0), (-1, -1)],
    }[styles]
    if styles == 1:
        np.testing.assert_array_equal(rows[0][0], picture())
        return
    for artist, (row, column) in zip(artists, corners, strict=True):
        np.testing.assert_allclose(rows[row][column], artist.draw(picture()), atol=1e-5)
    if styles == 3:
        assert rows[2][2] is None


def test_a_grid_of_one_style_ends_where_no_stronger_one_is_known():
    """A style that has sliders, or was made by them, has no neutral one."""
    (one,) = stylizers(1)
    layers = ("relu1_1", "relu1_2")
    adjuster = tiny.adjustable_parameters(len(layers))["adjuster"]
    record = dataclasses.replace(one.record, weights_name="start.safetensors")
    moved = dataclasses.replace(one, record=record, sliders=Sliders(adjuster, one.style, layers))
    for artist in (moved, moved.at({"relu1_1": 0.5})):
        ((start, _, end),) = interpolation.grid([artist], picture(), 3)
        np.testing.assert_array_equal(start, picture())
        np.testing.assert_array_equal(end, artist.draw(picture()))


def test_a_grid_has_four_corners():
    with pytest.raises(UserError, match="one to 4 styles, not 5"):
        interpolation.grid(stylizers(5), picture())
