"""Procedural content pictures: a valley, a lake, a city and a still life.

Each scene takes a generator and n, and returns (n, n, 3) float32, about [0, 1].
"""

from __future__ import annotations

import numpy as np

from metastyle_jax.data.procedural import fractal_noise, objects, scenery


def _any_light(rng: np.random.Generator) -> scenery.Light:
    return scenery.LIGHTS[rng.integers(len(scenery.LIGHTS))]


def valley(rng: np.random.Generator, n: int) -> np.ndarray:
    """Mountains, hills, a meadow with trees, and sometimes balloons in the sky."""
    light, horizon = _any_light(rng), rng.uniform(0.45, 0.6)
    image = scenery.sky(rng, n, light, horizon)
    image = scenery.ridges(rng, n, image, light, horizon, layers=int(rng.integers(3, 5)))
    start = rng.uniform(0.64, 0.76)
    image = scenery.meadow(rng, n, image, light, start)
    _grove(rng, image, light, start, count=int(rng.integers(5, 14)))
    if rng.random() < 0.4:
        for _ in range(rng.integers(1, 4)):
            center = (rng.uniform(0.12, 0.4), rng.uniform(0.12, 0.88))
            image = objects.balloon(rng, image, light, center, rng.uniform(0.05, 0.11))
    return image


def lake(rng: np.random.Generator, n: int) -> np.ndarray:
    """Mountains and trees on the far shore of a lake that mirrors them, with a sailing boat."""
    light, shore = _any_light(rng), rng.uniform(0.5, 0.62)
    image = scenery.sky(rng, n, light, shore)
    image = scenery.ridges(rng, n, image, light, shore - 0.04, layers=3)
    _grove(rng, image, light, shore - 0.01, count=int(rng.integers(10, 24)), small=True)
    y, _ = fractal_noise.coordinates(n)
    depth = np.clip((y - np.float32(shore)) / np.float32(1.0 - shore), 0.0, 1.0)
    waves = fractal_noise.fractal_noise(rng, n, 26.0, 3, 0.6, stretch=7.0)
    mirror = 2.0 * (shore - y) * n
    reflected = fractal_noise.shift(image, mirror, np.zeros(1))
    wobble = waves * (0.005 + 0.03 * depth) * n
    reflected = fractal_noise.shift(reflected, wobble * 0.7, wobble)
    deep = np.array(light.sky[0], np.float32) * np.array([0.5, 0.75, 0.8], np.float32)
    water = reflected * np.array([0.86, 0.92, 0.95], np.float32)
    water = fractal_noise.blend(water, deep, 0.12 + 0.45 * depth)
    glint = fractal_noise.smoothstep(0.35, 0.75, waves) * (0.15 + 0.35 * depth)
    water = fractal_noise.blend(water, np.array(light.haze), glint)
    image = fractal_noise.blend(image, water, np.clip((y - np.float32(shore)) * n + 0.5, 0, 1))
    return objects.boat(rng, image, light, (rng.uniform(shore + 0.12, 0.86), rng.uniform(0.2, 0.8)))


def city(rng: np.random.Generator, n: int) -> np.ndarray:
    """Three rows of houses and towers with windows, paler with distance, and a street."""
    light = _any_light(rng)
    image = scenery.sky(rng, n, light, 0.75)
    night = light.strength < 0.95
    for row, near in enumerate((0.25, 0.6, 1.0)):
        left = rng.uniform(-0.05, 0.0)
        while left < 1.0:
            width = rng.uniform(0.07, 0.16) * (0.7 + 0.45 * near)
            top = rng.uniform(0.2, 0.5) + 0.15 * row
            tone = np.array(light.rock) + 0.7 * (
                objects.VIVID[rng.integers(8)] - np.array(light.rock)
            )
            tone = np.array(light.haze) + (tone * light.strength - np.array(light.haze)) * near
            objects.building(rng, image, (left, width, top), tone.astype(np.float32), near, night)
            left += width * rng.uniform(0.95, 1.1)
    y, x = fractal_noise.coordinates(n)
    street = np.array(light.rock, np.float32) * 0.8
    texture = fractal_noise.fractal_noise(rng, n, 12.0, 4, 0.7, stretch=3.0)
    pavement = street * (1.0 + 0.15 * texture + 0.5 * (y - 0.9))[..., None]
    stripe = (np.abs((x - 0.5) / (y - 0.78)) % 0.9 < 0.07) & (y > 0.9)
    pavement = fractal_noise.blend(pavement, np.array(light.haze), stripe * 0.7)
    image = fractal_noise.blend(image, pavement, np.clip((y - 0.9) * n + 0.5, 0, 1))
    for _ in range(rng.integers(2, 5)):
        at = (rng.uniform(0.91, 0.97), rng.uniform(0.02, 0.98))
        scenery.tree(rng, image, light, at, rng.uniform(0.14, 0.24), conifer=False)
    return image


def still_life(rng: np.random.Generator, n: int) -> np.ndarray:
    """Shaded balls and fruit on a table before a wall, with soft shadows."""
    y, x = fractal_noise.coordinates(n)
    edge = rng.uniform(0.46, 0.6)
    colors = rng.permutation(objects.VIVID)
    wall = colors[0] * 0.45 + 0.3
    spot = np.exp(-((x - rng.uniform(0.1, 0.5)) ** 2 + (y - 0.2) ** 2) / 0.25)
    plaster = fractal_noise.fractal_noise(rng, n, 4.0, 5, 0.6)
    image = wall * (0.5 + 0.6 * spot + 0.07 * plaster)[..., None]
    depth = np.clip(y - np.float32(edge), 0.0, 1.0) + np.float32(0.25)
    grain = fractal_noise.fractal_noise(rng, n, 6.0, 5, 0.65, stretch=6.0)
    if rng.random() < 0.5:  # a chequered cloth instead of wood
        check = np.sin((x - 0.5) / depth * 9.0) * np.sin(7.0 / depth)
        table = fractal_noise.blend(
            colors[1] * 0.9 * np.ones((n, n, 1)),
            np.array([0.94, 0.92, 0.87]),
            fractal_noise.smoothstep(-0.15, 0.15, check),
        )
        table *= (0.95 + 0.06 * grain)[..., None]
    else:
        planks = fractal_noise.smoothstep(0.0, 0.06, np.abs(np.sin((x - 0.5) / depth * 6.0)))
        table = (
            np.array([0.55, 0.34, 0.19], np.float32)
            * ((0.95 + 0.28 * grain) * (0.55 + 0.45 * planks))[..., None]
        )
    table *= (0.65 + 0.6 * (y - np.float32(edge)))[..., None]
    image = fractal_noise.blend(image, table, np.clip((y - np.float32(edge)) * n + 0.5, 0, 1))
    count = int(rng.integers(4, 8))
    for index, foot in enumerate(np.sort(rng.uniform(edge + 0.1, 0.93, count))):
        radius = rng.uniform(0.07, 0.13) * (0.45 + 0.9 * foot)
        slot = (index * 0.382 + 0.2) % 1.0
        image = objects.ball(rng, image, (foot, 0.12 + 0.76 * slot), radius, colors[2 + index % 6])
    return image


SCENES = (valley, city, lake, still_life)


def _grove(
    rng: np.random.Generator,
    image: np.ndarray,
    light: scenery.Light,
    start: float,
    count: int,
    small: bool = False,
) -> None:
    conifers = rng.random() < 0.5
    spread, scale = (0.02, 0.10) if small else (0.2, 0.16)
    for distance in np.sort(rng.random(count) ** 1.5):
        at = (start + 0.02 + spread * distance, rng.uniform(-0.02, 1.02))
        size = scale * (0.5 + (0.5 if small else 1.3) * distance) * rng.uniform(0.8, 1.2)
        scenery.tree(rng, image, light, at, size, conifer=conifers)
