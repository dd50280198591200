"""Measures of pictures: against torch, sums written out by hand, and closed forms."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

import tiny
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import lattice, lpips, similarity, squeezenet

SHARED = Path(__file__).resolve().parents[2] / "shared" / "weights"
NETWORK = SHARED / "squeezenet1_1_torchvision_features_fp16.safetensors"
HEADS = SHARED / "lpips_v0.1_squeeze_lin.safetensors"
# (squeezed, expanded) channels of the fire modules by their index in torchvision
FIRES = {3: (16, 64), 4: (16, 64), 6: (32, 128), 7: (32, 128)}
FIRES |= {9: (48, 192), 10: (48, 192), 11: (64, 256), 12: (64, 256)}
WIDTHS = (64, 128, 256, 384, 384, 512, 512)


def random_weights() -> lpips.Weights:
    random = np.random.default_rng(0)
    network, before = {}, 64

    def add(name: str, out: int, into: int, size: int) -> None:
        kernel = random.standard_normal((out, into, size, size)) * (2 / (into * size**2)) ** 0.5
        network[f"{name}.weight"] = kernel.astype(np.float32)
        network[f"{name}.bias"] = (0.1 * random.standard_normal(out)).astype(np.float32)

    add("features.0", 64, 3, 3)
    for index, (squeezed, expanded) in FIRES.items():
        add(f"features.{index}.squeeze", squeezed, before, 1)
        add(f"features.{index}.expand1x1", expanded, squeezed, 1)
        add(f"features.{index}.expand3x3", expanded, squeezed, 3)
        before = 2 * expanded
    heads = tuple(random.uniform(size=width).astype(np.float32) for width in WIDTHS)
    return lpips.Weights(network, heads)


def images(count: int, height: int, width: int, seed: int) -> np.ndarray:
    return np.asarray(tiny.images(count, height, width, seed=seed), np.float32)


@pytest.mark.parametrize("size", [(17, 17), (40, 33), (64, 50)])
def test_lpips_equals_that_of_torch(torch_reference, size):
    weights, x, y = random_weights(), images(2, *size, 1), images(2, *size, 2)
    expected = torch_reference.lpips(*weights, x, y)
    np.testing.assert_allclose(lpips.distance(weights, x, y), expected, rtol=2e-4)


def test_lpips_with_the_real_weights(torch_reference):
    if not (NETWORK.exists() and HEADS.exists()):
        pytest.skip(f"needs {NETWORK.name} and {HEADS.name} in {SHARED}")
    weights, x, y = lpips.load(NETWORK, HEADS), images(1, 64, 64, 1), images(1, 64, 64, 2)
    expected = torch_reference.lpips(*weights, x, y)
    np.testing.assert_allclose(lpips.distance(weights, x, y), expected, rtol=2e-4)
    nearer = lpips.distance(weights, x, 0.9 * x + 0.1 * y)
    assert 0 < nearer[0] < expected[0]


def test_equal_pictures_are_at_no_distance():
    x = images(2, 20, 20, 1)
    np.testing.assert_allclose(lpips.distance(random_weights(), x, x), [0, 0], atol=1e-12)


def test_weights_are_read_from_files_and_what_is_missing_is_named(tmp_path):
    weights = random_weights()
    heads = {f"lin{i}.model.1.weight": h[None, :, None, None] for i, h in enumerate(weights.heads)}
    safetensors.numpy.save_file(dict(weights.network), tmp_path / "network.safetensors")
    safetensors.numpy.save_file(heads, tmp_path / "heads.safetensors")
    found = lpips.load(tmp_path / "network.safetensors", tmp_path / "heads.safetensors")
    assert set(found.network) == set(squeezenet.keys())
    np.testing.assert_array_equal(found.heads[3], weights.heads[3])
    with pytest.raises(UserError, match=r"heads\.safetensors has no array features\.0\.weight"):
        lpips.load(tmp_path / "heads.safetensors", tmp_path / "heads.safetensors")


def test_ssim_is_the_mean_over_windows(float64):
    x, y = tiny.images(2, 13, 14, seed=1), tiny.images(2, 13, 14, seed=2)
    grey = [np.asarray(z) @ (0.299, 0.587, 0.114) for z in (x, y)]
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    for n in range(2):
        values = []
        for i in range(3):
            for j in range(4):
                a, b = (z[n, i : i + 11, j : j + 11] for z in grey)
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                cross = (window * (a - mean_a) * (b - mean_b)).sum()
                spread = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
                first = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                values.append(first * (2 * cross + 9e-4) / (spread + 9e-4))
        np.testing.assert_allclose(similarity.ssim(x, y)[n], np.mean(values), rtol=1e-9)
    np.testing.assert_allclose(similarity.ssim(x, x), [1, 1], rtol=1e-12)


def test_cfsd_is_the_mean_divergence_of_self_similarities(float64):
    x, y = (
        jax.numpy.asarray(np.random.default_rng(s).standard_normal((1, 2, 3, 4))) for s in (1, 2)
    )

    def distributions(features):
        columns = np.asarray(features).reshape(6, 4)
        unit = columns / np.linalg.norm(columns, axis=1, keepdims=True)
        powers = np.exp(unit @ unit.T)
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = distributions(x), distributions(y)
    np.testing.assert_allclose(similarity.cfsd(x, y), [(p * np.log(p / q)).sum() / 6], rtol=1e-10)
    np.testing.assert_allclose(similarity.cfsd(x, 3 * x), [0], atol=1e-15)
    assert np.isfinite(similarity.cfsd(x, 0 * x)).all()


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
