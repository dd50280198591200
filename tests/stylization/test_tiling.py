"""Pictures in tiles against the network itself, at sizes around those of the tiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from metastyle_jax.networks import input_noise, stylization_network
from metastyle_jax.stylization import tiling

TILE = 32
SIZES = [(16, 16), (32, 32), (33, 32), (37, 53), (64, 35), (70, 67)]


@pytest.fixture(scope="module", params=[False, True], ids=["as published", "blur"])
def params(request):
    return tiny.parameters(seed=1, residual_blocks=2, blur=request.param)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def direct(params, image, style=None):
    style = params["style"] if style is None else style
    return np.asarray(stylization_network.stylize(params["weights"], style, image[None]))[0]


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_network_at_every_size(params, size):
    image = picture(*size)
    drawn = tiling.stylize(params["weights"], [params["style"]], image, tile=TILE)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, direct(params, image), atol=1e-5)


def test_other_sizes_and_styles_compile_nothing(params, programs):
    tiling.stylize(params["weights"], [params["style"]], picture(40, 40), tile=TILE)
    before = programs()
    for size in [(41, 90), (17, 33), (100, 20)]:
        tiling.stylize(params["weights"], [params["style"]], picture(*size), tile=TILE)
    other = tiny.parameters(seed=5, residual_blocks=2)["style"]
    tiling.stylize(params["weights"], [other], picture(20, 20), tile=TILE)
    assert programs() == before


def test_masks_are_styles_that_differ_from_place_to_place(params):
    image = picture(45, 70)
    styles = [params["style"], tiny.parameters(seed=7, residual_blocks=2)["style"]]
    left = np.clip(np.linspace(1.5, -0.5, 70), 0, 1)[None] * np.ones((45, 1))
    masks = np.stack([left, 1 - left]).astype(np.float32)
    drawn = tiling.stylize(params["weights"], styles, image, masks=masks, tile=TILE)

    full = np.pad(masks, [(0, 0), (0, 3), (0, 2)], mode="edge")  # to multiples of 4

    def blended(path, first, second):
        stride = {"conv1": 1, "conv2": 2, "up1": 2, "up2": 1}.get(path[0].key[:-5], 4)
        shares = full.reshape(2, 48 // stride, stride, 72 // stride, stride).mean(axis=(2, 4))
        return jnp.einsum("khw,kc->hwc", shares, jnp.stack([first, second]))[None]

    spatial = jax.tree_util.tree_map_with_path(blended, *styles)
    np.testing.assert_allclose(drawn, direct(params, image, spatial), atol=1e-5)


def test_masks_of_one_style_are_that_style(params):
    image = picture(40, 50)
    masks = np.zeros((2, 40, 50), np.float32)
    masks[1] = 1
    other = tiny.parameters(seed=7, residual_blocks=2)["style"]
    drawn = tiling.stylize(
        params["weights"], [other, params["style"]], image, masks=masks, tile=TILE
    )
    np.testing.assert_allclose(drawn, direct(params, image), atol=1e-5)


def test_bytes_are_rounded_and_noise_is_that_of_the_texture(params):
    image = np.rint(255 * picture(50, 41)).astype(np.uint8)
    drawn = tiling.stylize(params["weights"], [params["style"]], image, noise=0.2, tile=TILE)
    noisy = image / np.float32(255) + np.float32(0.2) * input_noise.texture()[:50, :41, None]
    expected = direct(params, np.clip(noisy, 0, 1)) * 255
    assert drawn.dtype == np.uint8
    assert np.abs(drawn - expected).max() <= 0.5 + 1e-2


def test_large_pictures_keep_maps_of_half_precision(params, monkeypatch):
    image = picture(70, 67)
    monkeypatch.setattr(tiling, "HALF_PRECISION_PIXELS", 0)
    drawn = tiling.stylize(params["weights"], [params["style"]], image, tile=TILE)
    assert 0 < np.abs(drawn - direct(params, image)).max() < 1 / 255


@pytest.mark.parametrize("kept", [0, 4])
def test_small_pictures_make_nothing_twice_and_large_ones_keep_nothing(params, monkeypatch, kept):
    image, made = picture(40, 60), []
    expected = direct(params, image)
    first = tiling._first_convolution
    monkeypatch.setattr(tiling, "KEPT_TILES", kept)
    monkeypatch.setattr(tiling, "_first_convolution", lambda *x: made.append(1) or first(*x))
    drawn = tiling.stylize(params["weights"], [params["style"]], image, tile=TILE)
    assert len(made) == (4 if kept else 8)
    np.testing.assert_allclose(drawn, expected, atol=1e-5)


def test_progress_ends_at_one(params):
    seen = []
    tiling.stylize(
        params["weights"], [params["style"]], picture(40, 40), tile=TILE, progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
