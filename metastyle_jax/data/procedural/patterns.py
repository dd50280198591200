"""Procedural style pictures: painterly textures with their own palettes.

Each pattern takes a generator, n and a palette (k, 3), and returns (n, n, 3) float32, about
[0, 1]. All features are sized relative to n.
"""

from __future__ import annotations

import numpy as np

from metastyle_jax.data.procedural import fractal_noise

# Dark to light, so that a ramp along a palette also carries light and shade.
PALETTES = tuple(
    np.array([[int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)] for color in row.split()])
    for row in (
        "0b1d3a 1f4e8c 3f88c5 a9d6e5 f4d35e fff3b0",  # night blue and gold
        "2b0f0e 7a1e1c c8402f ef8a3c f7c873 fdf1d3",  # embers
        "10241b 2f5d3a 6a994e a7c957 f2e8cf bc4749",  # garden
        "1b1b1e 373f51 58a4b0 a9bcd0 d8dbe2 f5b0a1",  # slate and rose
        "2d1e2f 6b2d5c a23e68 f0386b f8c0c8 ffe8d6",  # magenta
        "073b4c 118ab2 06d6a0 ffd166 ef476f fff8e7",  # carnival
        "16110d 4a3728 8a6642 c9a66b e8d5b5 5f7a8a",  # sepia
        "03071e 370617 9d0208 e85d04 faa307 ffe169",  # fire
        "14213d 26547c 4d908e 90be6d f9c74f f3722c",  # lagoon
        "22223b 4a4e69 9a8c98 c9ada7 f2e9e4 b23a48",  # dusk
        "001219 005f73 0a9396 94d2bd e9d8a6 ca6702",  # sea
        "111111 3d3d3d 8c8c8c d9d9d9 f7f5ef c1121c",  # ink and vermilion
    )
)


def brush_strokes(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Thick paint dragged along a swirling flow."""
    y, x = fractal_noise.coordinates(n)
    angle = 2.2 * fractal_noise.fractal_noise(rng, n, rng.uniform(1.2, 2.5), 2)
    for _ in range(rng.integers(1, 4)):
        cy, cx = rng.uniform(0.1, 0.9, 2)
        around = np.arctan2(y - cy, x - cx) + np.pi / 2
        pull = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(0.02, 0.07))
        angle = angle + pull * np.angle(np.exp(1j * (around - angle)))
    step = n * rng.uniform(0.004, 0.008)
    dy, dx = (np.sin(angle) * step).astype(np.float32), (np.cos(angle) * step).astype(np.float32)
    bristles = rng.uniform(50.0, 85.0)
    stroke = _smear(fractal_noise.smooth_noise(rng, n, bristles, bristles), dy, dx)
    stroke = stroke / (stroke.std() + 1e-6)
    tone = fractal_noise.fractal_noise(rng, n, 2.5, 3) * 0.55 + 0.5 + 0.17 * stroke
    # Relief: light from the top left on the ridges of the paint.
    light = np.gradient(stroke, axis=0) + np.gradient(stroke, axis=1)
    image = fractal_noise.ramp(palette, tone)
    return image * (1.0 + 0.16 * np.clip(light, -2, 2))[..., None]


def _smear(field: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Averages `field` along a flow by doubling: 32 steps forward in five look-ups."""
    for _ in range(5):
        field = 0.5 * (field + fractal_noise.shift(field, dy, dx))
        dy, dx = dy + fractal_noise.shift(dy, dy, dx), dx + fractal_noise.shift(dx, dy, dx)
    return field


def mosaic(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Irregular glass tiles with dark joints, arranged by a smooth design."""
    cells = int(rng.integers(9, 22))
    y, x = fractal_noise.coordinates(n)
    jitter = rng.uniform(0.12, 0.88, (2, cells + 2, cells + 2)).astype(np.float32)
    row, column = (y * cells).astype(np.int32), (x * cells).astype(np.int32)
    nearest = np.full((n, n), 9.0, np.float32)
    second = nearest.copy()
    owner = np.zeros((n, n), np.int32)
    for i in range(3):
        for j in range(3):
            sy = jitter[0, row + i, column + j] + (row + i - 1)
            sx = jitter[1, row + i, column + j] + (column + j - 1)
            distance = np.hypot(y * cells - sy, x * cells - sx)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            owner = np.where(closer, (row + i) * (cells + 2) + column + j, owner)
            nearest = np.minimum(nearest, distance)
    rings = _design(rng, cells + 2)
    tile_tone = rings.ravel() + rng.normal(0.0, 0.07, rings.size)
    tile = fractal_noise.ramp(palette, tile_tone)
    tile *= rng.uniform(0.85, 1.12, (len(tile), 1))
    gap = second - nearest
    joint = fractal_noise.smoothstep(0.04, 0.13, gap)
    bevel = 0.86 + 0.28 * np.clip(0.55 - nearest, -0.2, 0.5) * 2
    image = tile[owner].astype(np.float32) * bevel[..., None]
    return fractal_noise.blend(palette[0] * 0.5 * np.ones((n, n, 1)), image, joint)


def _design(rng: np.random.Generator, n: int) -> np.ndarray:
    """Large waves and rings, (n, n) in [0, 1]."""
    y, x = fractal_noise.coordinates(n)
    cy, cx = rng.uniform(0.0, 1.0, 2)
    radius = np.hypot(y - cy, x - cx)
    bend = fractal_noise.smooth_noise(rng, n, 2.0, 2.0)
    return (0.5 + 0.5 * np.sin(radius * rng.uniform(8.0, 18.0) + 2.0 * bend)).astype(np.float32)


def swirls(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Rings of broken strokes around several centers."""
    y, x = fractal_noise.coordinates(n)
    count = int(rng.integers(6, 14))
    centers = rng.uniform(0.0, 1.0, (count, 2)).astype(np.float32)
    weights = rng.uniform(0.6, 1.3, count)
    best = np.full((n, n), 9.0, np.float32)
    owner = np.zeros((n, n), np.int32)
    for index, (cy, cx) in enumerate(centers):
        distance = np.hypot(y - cy, x - cx) / np.float32(weights[index])
        owner = np.where(distance < best, index, owner)
        best = np.minimum(best, distance)
    around = np.arctan2(y - centers[owner, 0], x - centers[owner, 1])
    ring_count = rng.uniform(26.0, 48.0)
    wobble = 0.012 * fractal_noise.fractal_noise(rng, n, 6.0, 2)
    position = (best + wobble) * ring_count
    ring = np.floor(position)
    code = rng.random(4096).astype(np.float32)
    slot = np.floor(around / (2 * np.pi) * (4 + ring * 3) + 7.3 * code[ring.astype(int) % 997])
    dash = code[(slot.astype(int) * 31 + ring.astype(int) * 17 + owner * 101) % 4096]
    across = np.abs(position - ring - 0.5) * 2.0
    tone = 0.15 + 0.55 * code[owner] + 0.45 * (dash - 0.5) + 0.5 * np.exp(-best * 22)
    image = fractal_noise.ramp(palette, tone)
    fiber = fractal_noise.smooth_noise(rng, n, n / 3, n / 3)
    shade = 1.08 - 0.4 * across**3 + 0.07 * fiber
    return image * shade[..., None]


def weave(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Woven stripes: colored threads over and under each other."""
    threads = int(rng.integers(20, 44))
    y, x = fractal_noise.coordinates(n)
    bend = 0.012 * fractal_noise.fractal_noise(rng, n, 3.0, 2)
    v, u = (y + bend) * threads, (x - bend) * threads
    row, column = np.floor(v).astype(int), np.floor(u).astype(int)
    twill = int(rng.integers(2, 5))
    over = ((row + column) % (2 * twill - 2 if twill > 2 else 2)) < max(1, twill - 1)
    stripes = [np.repeat(rng.integers(0, len(palette), 64), rng.integers(1, 6, 64)) for _ in "vu"]
    warp = palette[stripes[0][column % 64]]
    weft = palette[stripes[1][row % 64]]
    round_u, round_v = 1.0 - (2 * (u - column) - 1) ** 2, 1.0 - (2 * (v - row) - 1) ** 2
    image = np.where(over[..., None], warp, weft).astype(np.float32)
    round_here = np.where(over, round_u, round_v)
    along = np.where(over, round_v, round_u)
    fiber = fractal_noise.smooth_noise(rng, n, n / 3, n / 10) * 0.08
    shade = 0.35 + 0.62 * np.sqrt(np.clip(round_here, 0, 1)) + 0.12 * along + fiber
    worn = 0.1 * fractal_noise.fractal_noise(rng, n, 3.0, 4)
    return image * (shade + worn)[..., None]


def dots(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Layers of small round dabs whose colors mix in the eye."""
    tone = fractal_noise.fractal_noise(rng, n, 2.2, 3) * 0.6 + 0.5
    image = fractal_noise.ramp(palette, tone) * np.float32(0.9)
    y, x = fractal_noise.coordinates(n)
    cells = rng.uniform(26.0, 44.0)
    for layer in range(5):
        turn = layer * 0.62 + 0.2
        v = (np.cos(turn) * y + np.sin(turn) * x) * cells + 60.0
        u = (np.cos(turn) * x - np.sin(turn) * y) * cells + 60.0
        row, column = np.floor(v).astype(int), np.floor(u).astype(int)
        place = rng.uniform(0.28, 0.72, (2, 128, 128)).astype(np.float32)
        distance = np.hypot(v - row - place[0, row, column], u - column - place[1, row, column])
        size = rng.uniform(0.2, 0.4, (128, 128)).astype(np.float32)[row, column]
        dab = fractal_noise.smoothstep(0.0, 0.14, size - distance)
        accent = rng.normal(0.0, 0.2, (128, 128)).astype(np.float32)[row, column]
        image = fractal_noise.blend(image, fractal_noise.ramp(palette, tone + accent), dab * 0.92)
    return image


def marbling(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Inks floated on water, combed into folds, with fine dark veins."""
    y, x = fractal_noise.coordinates(n)
    first = fractal_noise.fractal_noise(rng, n, 2.0, 4)
    second = fractal_noise.fractal_noise(rng, n, 2.0, 4)
    comb = 0.05 * np.sin(x * rng.uniform(15.0, 40.0))
    field = fractal_noise.fractal_noise(rng, n, 1.6, 4)
    folded = fractal_noise.shift(field, (first * 0.22 + comb) * n, second * 0.22 * n)
    bands = (folded * rng.uniform(1.2, 2.2) + 0.4 * y) * 4.0
    index = np.floor(bands)
    order = rng.permutation(len(palette))
    edge = bands - index
    flat = palette[order[index.astype(int) % len(palette)]].astype(np.float32)
    following = palette[order[(index.astype(int) + 1) % len(palette)]].astype(np.float32)
    image = fractal_noise.blend(flat, following, fractal_noise.smoothstep(0.75, 1.0, edge))
    vein = np.exp(-(((edge - 0.12) / 0.05) ** 2)) + 0.5 * np.exp(-(((edge - 0.4) / 0.03) ** 2))
    image = fractal_noise.blend(image, palette[0], vein * 0.65)
    return image * (1.0 + 0.12 * second)[..., None]


def hatching(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Pen strokes in several directions over a wash, denser where it is dark."""
    y, x = fractal_noise.coordinates(n)
    tone = fractal_noise.fractal_noise(rng, n, 2.5, 4) * 0.6 + 0.5
    paper = 0.35 * palette[-2] + 0.65 * np.array([0.97, 0.94, 0.88])
    wash = fractal_noise.ramp(palette[1:], fractal_noise.fractal_noise(rng, n, 1.8, 4) * 0.6 + 0.5)
    image = fractal_noise.blend(
        paper * np.ones((n, n, 1)), wash, np.clip(0.85 - 0.5 * tone, 0.1, 0.9)
    )
    lines = rng.uniform(24.0, 44.0)
    start = rng.uniform(0.0, np.pi)
    for layer in range(4):
        angle = start + layer * (np.pi / 4 + 0.1)
        bend = 0.02 * fractal_noise.fractal_noise(rng, n, 4.0, 2)
        across = (np.cos(angle) * x + np.sin(angle) * y + bend) * lines
        pressure = fractal_noise.smooth_noise(rng, n, lines / 2, lines / 2) * 0.18
        dark = np.clip((0.85 - 0.2 * layer - tone) * 1.4 + pressure, 0.0, 0.75)
        line = fractal_noise.smoothstep(0.0, 0.25, dark - 2.0 * np.abs(across % 1.0 - 0.5))
        image = fractal_noise.blend(image, palette[0], line * 0.88)
    return image


def shapes(rng: np.random.Generator, n: int, palette: np.ndarray) -> np.ndarray:
    """Overlapping translucent discs, rings, wedges and bars, textured like gouache."""
    y, x = fractal_noise.coordinates(n)
    image = palette[-2] * np.ones((n, n, 1), np.float32)
    for _ in range(rng.integers(16, 26)):
        cy, cx = rng.uniform(0.0, 1.0, 2).astype(np.float32)
        size, angle = rng.uniform(0.05, 0.28), rng.uniform(0.0, np.pi)
        v = (np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)) / size
        u = (np.sin(angle) * (y - cy) + np.cos(angle) * (x - cx)) / size
        kind = rng.integers(5)
        if kind == 0:
            inside = 1.0 - np.hypot(u, v)
        elif kind == 1:
            inside = 0.12 - np.abs(np.hypot(u, v) - 0.85)
        elif kind == 2:
            inside = np.minimum(1.0 - np.abs(v) - u, u + 0.8) * 0.8
        elif kind == 3:
            inside = np.minimum(0.07 - np.abs(v), 2.2 - np.abs(u))
        else:
            inside = np.minimum(1.0 - np.maximum(np.abs(u), np.abs(v)), np.sin(u * 14.0) * 0.07)
        mask = np.clip(inside * size * n + 0.5, 0.0, 1.0)
        image = fractal_noise.blend(
            image, palette[rng.integers(len(palette))], mask * rng.uniform(0.6, 1)
        )
    grain = fractal_noise.fractal_noise(
        rng, n, 24.0, 3, 0.8
    ) * 0.10 + 0.08 * fractal_noise.smooth_noise(rng, n, n / 24, n / 3)
    return image * (1.0 + grain)[..., None]


PATTERNS = (brush_strokes, mosaic, swirls, weave, dots, marbling, hatching, shapes)
