"""Procedural pictures: repeatable, in range, varied, and with the structure they claim."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.data.procedural import drawn_source, fractal_noise, patterns, scenes

PAINTERS = {"content": drawn_source.content_image, "style": drawn_source.style_image}
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", PAINTERS)
def test_pictures_are_repeatable_and_in_range(kind):
    for seed in range(16):
        image = PAINTERS[kind](seed, 48)
        assert image.shape == (48, 48, 3) and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0.0 and image.max() <= 1.0
        np.testing.assert_array_equal(image, PAINTERS[kind](seed, 48))


@pytest.mark.parametrize("kind", PAINTERS)
@pytest.mark.parametrize("size", [1, 15, 33])
def test_any_size_works(kind, size):
    for seed in range(8):
        assert PAINTERS[kind](seed, size).shape == (size, size, 3)


@pytest.mark.parametrize("kind", PAINTERS)
def test_pictures_have_contrast_and_differ_from_each_other(kind):
    pictures = np.stack([PAINTERS[kind](seed, 48) for seed in range(24)])
    assert pictures.std(axis=(1, 2)).max(axis=1).min() > 0.05
    flat = pictures.reshape(24, -1)
    distances = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(-1)) + np.eye(24)
    assert distances.min() > 0.03


def test_contents_and_styles_have_streams_of_their_own():
    assert not np.allclose(
        drawn_source.content_image(0, 48), drawn_source.style_image(0, 48), atol=0.1
    )


def test_styles_have_finer_texture_than_contents():
    """Styles are textures: more of their variation is between neighbors."""

    def roughness(paint):
        values = []
        for seed in range(16):
            image = paint(seed, 64)
            values.append(np.abs(np.diff(image, axis=1)).mean() / image.std())
        return np.median(values)

    assert roughness(drawn_source.style_image) > 1.5 * roughness(drawn_source.content_image)


def test_every_kind_is_reached(monkeypatch):
    """By the first seeds, one after the other."""
    for module, kinds, paint in (
        (scenes, "SCENES", drawn_source.content_image),
        (patterns, "PATTERNS", drawn_source.style_image),
    ):
        painters, reached = getattr(module, kinds), []

        def noted(painter):
            return lambda *arguments: reached.append(painter) or painter(*arguments)  # noqa: B023

        monkeypatch.setattr(module, kinds, tuple(noted(painter) for painter in painters))
        for seed in range(len(painters)):
            paint(seed, 16)
        assert list(dict.fromkeys(reached)) == list(painters)
    for palette in patterns.PALETTES:
        assert palette.shape == (6, 3) and palette.min() >= 0 and palette.max() <= 1


def test_source():
    source = drawn_source.ProceduralSource("style", 5, 32, first_seed=10)
    assert len(source) == 5
    np.testing.assert_array_equal(source[2], drawn_source.style_image(12, 32))
    with pytest.raises(IndexError):
        source[5]
    with pytest.raises(ValueError, match="positive"):
        drawn_source.ProceduralSource("style", 0, 32)


def test_ramp_interpolates_between_its_colors():
    colors = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    t = np.array([0.0, 0.25, 1.0, 2.0, -1.0])
    expected = [[0, 0, 1], [0.25, 0, 0.75], [1, 0, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(fractal_noise.ramp(colors, t), expected, atol=0.005)


def test_shift_reads_at_an_offset_and_mirrors_at_the_edge():
    field = np.arange(16.0).reshape(4, 4)
    moved = fractal_noise.shift(field, np.zeros((4, 4)), np.ones((4, 4)))
    np.testing.assert_array_equal(moved, field[:, [1, 2, 3, 3]])


def test_shipped_pictures_are_what_the_script_renders(tmp_path):
    """Guards against assets that nobody can reproduce (JPEG noise aside)."""
    script = runpy.run_path(str(ROOT / "scripts" / "render_assets.py"))
    assets = ROOT / "metastyle_jax" / "assets"
    total = 0
    for kind, seeds in (("contents", script["CONTENTS"]), ("styles", script["STYLES"])):
        shipped = sorted((assets / kind).glob("*.jpg"))
        assert {path.stem for path in shipped} == set(seeds)
        total += sum(path.stat().st_size for path in shipped)
        paint = PAINTERS[kind.removesuffix("s")]
        for path in shipped:
            expected = paint(seeds[path.stem], script["SIZE"])
            np.testing.assert_allclose(np.asarray(Image.open(path)) / 255.0, expected, atol=0.2)
    assert total < 1_500_000
