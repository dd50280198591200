"""Things that stand in the procedural scenes: buildings, balls, balloons and boats.

Images are (n, n, 3) float32, about [0, 1]; positions are (y, x) and lengths fractions of n.
"""

from __future__ import annotations

import numpy as np

from metastyle_jax.data.procedural import fractal_noise, scenery

VIVID = np.array(
    [
        (0.85, 0.20, 0.16),
        (0.95, 0.62, 0.12),
        (0.16, 0.42, 0.70),
        (0.20, 0.55, 0.36),
        (0.92, 0.86, 0.74),
        (0.55, 0.22, 0.50),
        (0.10, 0.20, 0.34),
        (0.93, 0.45, 0.42),
    ],
    np.float32,
)


def building(
    rng: np.random.Generator,
    image: np.ndarray,
    frame: tuple[float, float, float],
    tone: np.ndarray,
    near: float,
    night: bool,
) -> None:
    """Paints a block with lit and shaded sides and windows; `frame` is (left, width, top)."""
    n = image.shape[0]
    left, width, top = frame
    window = image[int(top * n) :, max(0, int(left * n)) : max(0, int((left + width) * n))]
    rows, columns = window.shape[:2]
    if rows < 6 or columns < 6:
        return
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    facade = np.where(x > 0.72 * columns, 0.68, 1.0) * (1.04 - 0.12 * y / rows)
    facade = facade + rng.normal(0.0, 0.02, (rows, columns))
    step = max(5, int(columns / rng.integers(4, 7)))
    floor = max(5, int(step * rng.uniform(1.0, 1.6)))
    pane = (x % step > 0.4 * step) & (y % floor > 0.45 * floor) & (y > 0.4 * floor)
    lit = rng.random((rows // floor + 1, columns // step + 1)) < (0.5 if night else 0.08)
    glow = pane & lit[y // floor, x // step]
    painted = tone * facade[..., None]
    painted[np.broadcast_to(pane, glow.shape)] *= np.float32(0.55)
    painted[glow] += near * (np.array([1.0, 0.82, 0.45]) - painted[glow]) * 0.9
    roof = y < max(2, 0.012 * n)
    painted[np.broadcast_to(roof, glow.shape)] *= np.float32(0.75)
    window[:] = painted


def ball(
    rng: np.random.Generator,
    image: np.ndarray,
    foot: tuple[float, float],
    radius: float,
    color: np.ndarray,
) -> np.ndarray:
    """A lit ball standing at `foot` = (y, x), with a cast shadow and a stem or stripes."""
    n = image.shape[0]
    y, x = fractal_noise.coordinates(n)
    v, u = (y - np.float32(foot[0] - radius)) / radius, (x - np.float32(foot[1])) / radius
    shadow = np.exp(-(((u - 0.9) / 1.5) ** 2) - ((v - 1.0) / 0.32) ** 2) * 0.7
    image = image * (1.0 - shadow)[..., None]
    square = u * u + v * v
    height = np.sqrt(np.clip(1.0 - square, 0.0, 1.0))
    diffuse = np.clip(-0.5 * u - 0.6 * v + 0.62 * height, 0.0, 1.0)
    shine = np.clip(-0.27 * u - 0.33 * v + 0.90 * height, 0.0, 1.0) ** 40
    skin = np.broadcast_to(color, image.shape)
    kind = rng.random()
    if kind < 0.35:  # a striped ball
        angle = rng.uniform(0.0, np.pi)
        band = np.sin((u * np.cos(angle) + v * np.sin(angle)) * 7.0)
        skin = fractal_noise.blend(
            skin, np.array([0.95, 0.93, 0.88]), fractal_noise.smoothstep(-0.1, 0.1, band)
        )
    elif kind < 0.75:  # a fruit, blushing on one side
        blush = fractal_noise.fractal_noise(rng, n, 5.0, 4, 0.6) * 0.5 + 0.5
        skin = fractal_noise.blend(skin, color[[1, 0, 2]], np.clip(blush - 0.2 + 0.4 * u, 0, 0.8))
    bounce = 0.10 * np.clip(v, 0.0, 1.0)
    lit = skin * (0.22 + 0.9 * diffuse + bounce)[..., None] + 0.75 * shine[..., None]
    return fractal_noise.blend(
        image, lit, np.clip((1.0 - np.sqrt(square)) * radius * n + 0.5, 0, 1)
    )


def balloon(
    rng: np.random.Generator,
    image: np.ndarray,
    light: scenery.Light,
    center: tuple[float, float],
    radius: float,
) -> np.ndarray:
    """A striped hot-air balloon with its basket."""
    n = image.shape[0]
    y, x = fractal_noise.coordinates(n)
    v, u = (y - np.float32(center[0])) / radius, (x - np.float32(center[1])) / radius
    taper = np.where(v > 0, 1.0 - 0.55 * np.clip(v, 0, 1.3) ** 1.6, 1.0)
    span = np.abs(u) / np.clip(taper, 0.1, 1.0)
    envelope = (span**2 + np.where(v > 0, v / 1.35, v) ** 2) < 1.0
    first, second = VIVID[rng.choice(8, 2, replace=False)]
    gores = np.sin(np.arcsin(np.clip(u / np.clip(taper, 0.1, 1), -1, 1)) * 6.0)
    skin = fractal_noise.blend(
        first * np.ones((n, n, 1)), second, fractal_noise.smoothstep(-0.1, 0.1, gores)
    )
    skin *= (light.strength * np.clip(0.95 - 0.45 * u - 0.2 * v, 0.3, 1.2))[..., None]
    image = fractal_noise.blend(image, skin, envelope.astype(np.float32))
    basket = (np.abs(u) < 0.14) & (v > 1.55) & (v < 1.8)
    ropes = (np.abs(np.abs(u) - 0.14 - 0.1 * (1.55 - v)) < 0.02) & (v > 1.2) & (v < 1.6)
    dark = np.array([0.25, 0.15, 0.08]) * light.strength
    return fractal_noise.blend(image, dark, (basket | ropes).astype(np.float32))


def boat(
    rng: np.random.Generator, image: np.ndarray, light: scenery.Light, at: tuple[float, float]
) -> np.ndarray:
    """A sailing boat at `at` = (y, x) with its reflection."""
    y, x = fractal_noise.coordinates(image.shape[0])
    size = rng.uniform(0.10, 0.17)
    v, u = (np.float32(at[0]) - y) / size, (x - np.float32(at[1])) / size
    color = VIVID[rng.integers(8)] * light.strength
    for flip, strength in ((-1.6, 0.35), (1.0, 1.0)):
        w = v * flip
        main = (u > 0.03) & (w > 0.2) & (u < 0.55 * (1.15 - w)) & (w < 1.15)
        jib = (u < -0.02) & (w > 0.2) & (-u < 0.4 * (0.95 - w)) & (w < 0.95)
        hull = (w > 0.0) & (w < 0.16) & (np.abs(u) < 0.42 + 0.9 * w)
        mast = (np.abs(u - 0.005) < 0.018) & (w > 0.1) & (w < 1.2)
        canvas = np.array([0.97, 0.94, 0.88]) * light.strength
        image = fractal_noise.blend(image, canvas, main * strength)
        image = fractal_noise.blend(image, color, jib * strength)
        image = fractal_noise.blend(image, np.array([0.28, 0.16, 0.1]), (hull | mast) * strength)
    return image
