"""Small pictures drawn together, against each drawn alone."""

from __future__ import annotations

import numpy as np
import pytest

import tiny
from metastyle_jax.stylization import small_pictures, tiling
from metastyle_jax.stylization.small_pictures import SmallPicture

SIDE = 32
SIZES = [(16, 16), (32, 32), (21, 32), (30, 19), (17, 25)]


@pytest.fixture(scope="module", params=[False, True], ids=["as published", "blur"])
def params(request):
    return [tiny.parameters(seed, residual_blocks=2, blur=request.param) for seed in (1, 2, 3)]


def given(params, sizes=SIZES, noise=0.0):
    rng = np.random.default_rng(0)
    return [
        SmallPicture(params[i % 3]["style"], rng.random((*size, 3), np.float32), noise)
        for i, size in enumerate(sizes)
    ]


def alone(params, picture):
    weights = params[0]["weights"]
    return tiling.stylize(weights, [picture.style], picture.image, noise=picture.noise, tile=SIDE)


def test_every_size_and_style_is_drawn_as_alone(params):
    pictures = given(params, noise=0.1)
    drawn = small_pictures.stylize(params[0]["weights"], pictures, SIDE, len(pictures))
    for one, picture in zip(drawn, pictures, strict=True):
        assert one.shape == picture.image.shape and one.dtype == np.float32
        np.testing.assert_allclose(one, alone(params, picture), atol=1e-5)


def test_fewer_pictures_and_other_sizes_compile_nothing(params, programs):
    pictures = given(params)
    small_pictures.stylize(params[0]["weights"], pictures, SIDE, 5)
    before = programs()
    for count, sizes in ((1, [(20, 31)]), (3, [(16, 20), (32, 17), (31, 31)])):
        others = given(params, sizes)
        drawn = small_pictures.stylize(params[0]["weights"], others, SIDE, 5)
        assert len(drawn) == count
        assert programs() == before
        np.testing.assert_allclose(drawn[-1], alone(params, others[-1]), atol=1e-5)


def test_bytes_are_rounded(params):
    picture = SmallPicture(
        params[0]["style"], np.random.default_rng(1).integers(0, 256, (18, 24, 3), np.uint8)
    )
    drawn = small_pictures.stylize(params[0]["weights"], [picture], SIDE, 5)[0]
    assert drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - alone(params, picture)).max() <= 1


def test_the_least_side_is_chosen_and_large_pictures_have_none():
    sides = [small_pictures.side_for(np.zeros((16, side, 3))) for side in (64, 65, 256, 512, 513)]
    assert sides == [64, 256, 256, 512, None]


def test_pictures_that_are_too_small_are_refused(params):
    with pytest.raises(ValueError, match="16"):
        small_pictures.stylize(params[0]["weights"], given(params, [(15, 20)]), SIDE, 5)
