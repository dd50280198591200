"""Parts of procedural landscapes: light, sky, mountains, meadow and trees.

Images are (n, n, 3) float32, about [0, 1] (clipped at the very end); lengths are fractions of n.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from metastyle_jax.data.procedural import fractal_noise


@dataclasses.dataclass(frozen=True)
class Light:
    """The colors of a time of day; `haze` is what distant things fade into."""

    sky: tuple[tuple[float, float, float], ...]  # zenith to horizon
    sun: tuple[float, float, float]
    cloud: tuple[float, float, float]
    haze: tuple[float, float, float]
    ground: tuple[float, float, float]
    rock: tuple[float, float, float]
    strength: float


LIGHTS = (
    Light(  # noon
        ((0.16, 0.38, 0.72), (0.42, 0.66, 0.90), (0.82, 0.91, 0.96)),
        (1.0, 0.97, 0.85),
        (1.0, 1.0, 1.0),
        (0.70, 0.81, 0.90),
        (0.26, 0.44, 0.14),
        (0.42, 0.40, 0.40),
        1.0,
    ),
    Light(  # sunset
        ((0.17, 0.17, 0.38), (0.62, 0.33, 0.42), (0.98, 0.60, 0.30), (1.0, 0.82, 0.50)),
        (1.0, 0.90, 0.60),
        (1.0, 0.62, 0.45),
        (0.93, 0.60, 0.42),
        (0.25, 0.24, 0.14),
        (0.32, 0.22, 0.26),
        0.9,
    ),
    Light(  # early morning
        ((0.45, 0.62, 0.78), (0.80, 0.80, 0.84), (0.99, 0.87, 0.76)),
        (1.0, 0.95, 0.82),
        (1.0, 0.93, 0.90),
        (0.87, 0.83, 0.83),
        (0.36, 0.46, 0.26),
        (0.46, 0.44, 0.52),
        1.0,
    ),
    Light(  # dusk
        ((0.05, 0.08, 0.22), (0.14, 0.22, 0.42), (0.45, 0.45, 0.60)),
        (0.97, 0.97, 0.92),
        (0.30, 0.34, 0.52),
        (0.33, 0.37, 0.54),
        (0.10, 0.17, 0.19),
        (0.17, 0.20, 0.32),
        0.75,
    ),
    Light(  # autumn afternoon
        ((0.35, 0.56, 0.72), (0.66, 0.78, 0.80), (0.95, 0.90, 0.74)),
        (1.0, 0.94, 0.76),
        (1.0, 0.97, 0.90),
        (0.86, 0.82, 0.70),
        (0.62, 0.40, 0.12),
        (0.50, 0.40, 0.34),
        1.0,
    ),
)


def sky(rng: np.random.Generator, n: int, light: Light, horizon: float) -> np.ndarray:
    """A graded sky down to `horizon` (fraction of the height), with clouds and a sun or moon."""
    y, x = fractal_noise.coordinates(n)
    image = fractal_noise.ramp(light.sky, y / np.float32(horizon))
    sun_x, sun_y = rng.uniform(0.15, 0.85), rng.uniform(0.25, 0.7) * horizon
    distance = np.hypot(x - np.float32(sun_x), y - np.float32(sun_y))
    glow = np.exp(-distance / 0.13) * 0.55 + np.exp(-distance / 0.4) * 0.18
    image = fractal_noise.blend(image, np.array(light.sun), glow * light.strength)
    radius = rng.uniform(0.035, 0.06)
    disc = fractal_noise.smoothstep(radius + 0.006, radius - 0.006, distance)
    image = fractal_noise.blend(image, np.array(light.sun), disc)
    clouds = fractal_noise.fractal_noise(rng, n, 2.5, 5, 0.55, stretch=2.5)
    cover = fractal_noise.smoothstep(rng.uniform(0.0, 0.3), 0.9, clouds)
    # Light from above: the lower part of a bank, where the field still rises upward, is darker.
    lower = np.clip(np.gradient(clouds, axis=0) * (n / 14), -1.0, 1.0)
    tint = np.array(light.cloud, np.float32) * (0.93 + 0.1 * lower)[..., None]
    return fractal_noise.blend(image, tint, cover * 0.85)


def terrain(
    rng: np.random.Generator, n: int, crest: np.ndarray, color: np.ndarray, roughness: float
) -> tuple[np.ndarray, np.ndarray]:
    """A lit slope below the skyline `crest` (n,): its colors (n, n, 3) and its mask (n, n)."""
    y, _ = fractal_noise.coordinates(n)
    depth = y - crest[None, :]
    relief = fractal_noise.fractal_noise(rng, n, 5.0, 5, 0.6, stretch=1.5)
    # Folds run down from the crest, so the relief is read along the skyline's own slope.
    fold = fractal_noise.shift(relief, crest[None, :] * (-0.6 * n), depth * (0.35 * n))
    light = np.gradient(fold, axis=1) * (n / 18) - np.gradient(crest)[None, :] * (n * 0.12)
    shade = 1.0 + roughness * np.clip(light, -1.2, 1.2) + 0.12 * fold
    mask = np.clip(depth * n + 0.5, 0.0, 1.0)
    return np.asarray(color, np.float32) * shade[..., None], mask


def ridges(
    rng: np.random.Generator, n: int, image: np.ndarray, light: Light, horizon: float, layers: int
) -> np.ndarray:
    """Mountains behind hills, paler with distance."""
    rock, ground = np.array(light.rock), np.array(light.ground)
    haze = np.array(light.haze)
    for layer in range(layers):
        near = (layer + 1) / layers
        height = 0.16 * (1.0 - near) + 0.05
        gain = 0.55 - 0.2 * near
        crest = horizon - 0.06 + 0.12 * near - height * fractal_noise.ridge_line(rng, n, 2.5, gain)
        color = haze + (rock + (ground - rock) * near - haze) * (0.3 + 0.65 * near)
        slope, mask = terrain(rng, n, crest.astype(np.float32), color, 0.45 - 0.2 * near)
        if layer == 0:  # snow
            snow = fractal_noise.smoothstep(
                horizon - 0.1, horizon - 0.2, fractal_noise.coordinates(n)[0]
            )
            slope = fractal_noise.blend(
                slope, 0.35 + 0.65 * haze + 0.25 * (slope - color), snow * 0.8
            )
        image = fractal_noise.blend(image, slope, mask)
    return image


def meadow(
    rng: np.random.Generator, n: int, image: np.ndarray, light: Light, start: float
) -> np.ndarray:
    """Foreground field with furrows in perspective and flowers."""
    y, x = fractal_noise.coordinates(n)
    crest = start + 0.03 * fractal_noise.ridge_line(rng, n, 1.5, 0.3)
    depth = np.clip(y - crest[None, :], 0.0, 1.0) + np.float32(0.03)
    vanish = rng.uniform(-0.2, 1.2)
    rows = np.sin((x - np.float32(vanish)) / depth * 5.0 + 0.5 * np.sin(4.0 / depth))
    texture = fractal_noise.fractal_noise(rng, n, 14.0, 4, 0.7, stretch=2.0)
    near = fractal_noise.smoothstep(0.0, 0.3, depth)
    ground = np.array(light.ground, np.float32)
    shade = 0.95 + 0.16 * rows * near + 0.22 * texture * near
    color = ground * shade[..., None]
    bloom_colors = [(0.86, 0.25, 0.20), (0.95, 0.80, 0.25), (0.60, 0.40, 0.75), (0.95, 0.92, 0.9)]
    bloom = np.array(bloom_colors[rng.integers(len(bloom_colors))], np.float32) * light.strength
    spots = fractal_noise.smooth_noise(rng, n, n / 5, n / 5) + 0.5 * rows
    color = fractal_noise.blend(
        color, bloom, fractal_noise.smoothstep(0.9, 1.2, spots) * (0.2 + 0.7 * near)
    )
    return fractal_noise.blend(image, color, np.clip((y - crest[None, :]) * n + 0.5, 0, 1))


def tree(
    rng: np.random.Generator,
    image: np.ndarray,
    light: Light,
    at: tuple[float, float],
    size: float,
    conifer: bool,
) -> None:
    """Paints one tree of height `size`, its foot at `at` = (y, x), into `image` in place."""
    n = image.shape[0]
    top, bottom = max(0, int((at[0] - size) * n)), min(n, int(at[0] * n) + 1)
    left, right = max(0, int((at[1] - size * 0.5) * n)), min(n, int((at[1] + size * 0.5) * n))
    if bottom - top < 4 or right - left < 4:
        return
    window = image[top:bottom, left:right]
    v = ((at[0] * n - np.arange(top, bottom)) / (size * n))[:, None]  # 0 at the foot, 1 at the tip
    u = ((np.arange(left, right) - at[1] * n) / (size * n))[None, :]
    rough = rng.uniform(-1.0, 1.0, window.shape[:2])
    if conifer:
        tiers = np.abs((v * 6.0) % 1.0 - 1.0) * 0.09
        crown = (np.abs(u) < (1.0 - v) * 0.20 + tiers * (1.05 - v) + 0.012 * rough) & (v > 0.1)
        hue = np.array([0.10, 0.24, 0.16]) * (0.5 + 0.5 * light.strength)
    else:
        lobes = 0.04 * np.sin(9.0 * np.arctan2(v - 0.64, u) + size * 300)
        crown = np.hypot(u * 1.05, v - 0.64) < 0.30 + lobes + 0.025 * rough
        hue = np.array(light.ground) * np.array([0.75, 0.85, 0.75]) + 0.02
    trunk = (np.abs(u) < 0.03) & (v < 0.45) & (v >= 0)
    window[trunk] = np.array([0.23, 0.15, 0.10]) * light.strength
    shade = 0.85 - 1.6 * u + 0.5 * (v - 0.5) + 0.22 * rough
    window[crown] = (hue * shade[..., None])[crown].astype(np.float32)
