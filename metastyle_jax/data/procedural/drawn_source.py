"""Pictures made from an integer: scenes as contents, painterly textures as styles.

For tests, the smoke configuration and the demonstration that the package carries: no download and
no license but this project's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

from metastyle_jax.data.procedural import fractal_noise, patterns, scenes

# Two streams of random numbers that never meet, whatever the seeds.
_CONTENT_STREAM, _STYLE_STREAM = 1, 2


def content_image(seed: int, size: int) -> np.ndarray:
    """Scene number `seed`: (size, size, 3) float32 in [0, 1], the same at every call.

    The kind of scene goes round with the seed; light, terrain and objects are random. Different
    sizes give different pictures of the same kind.
    """
    rng = np.random.default_rng((_CONTENT_STREAM, seed))
    scene = scenes.SCENES[seed % len(scenes.SCENES)]
    return _finished(functools.partial(scene, rng), size)


def style_image(seed: int, size: int) -> np.ndarray:
    """Style number `seed`: (size, size, 3) float32 in [0, 1], the same at every call.

    The kind of texture goes round with the seed; palette, scale and layout are random. Different
    sizes give different pictures of the same kind.
    """
    rng = np.random.default_rng((_STYLE_STREAM, seed))
    pattern = patterns.PATTERNS[seed % len(patterns.PATTERNS)]
    palette = patterns.PALETTES[rng.integers(len(patterns.PALETTES))]
    return _finished(lambda n: pattern(rng, n, palette), size)


def _finished(paint: Callable[[int], np.ndarray], size: int) -> np.ndarray:
    """Paints at twice the size and averages, which smooths every hard edge."""
    # Painters need room for their smallest feature; tiny sizes are cut from a larger picture.
    image = np.clip(paint(2 * max(size, 32)), 0.0, 1.0).astype(np.float32)
    return np.ascontiguousarray(fractal_noise.halve(image)[:size, :size])


class ProceduralSource:
    """A random-access source of procedural pictures: element i is picture number i.

    `kind` is "content" or "style"; elements are (size, size, 3) float32 in [0, 1].
    """

    def __init__(
        self, kind: Literal["content", "style"], length: int, size: int, *, first_seed: int = 0
    ) -> None:
        if length < 1 or size < 1:
            raise ValueError(f"length and size must be positive, got {length} and {size}")
        self._paint = {"content": content_image, "style": style_image}[kind]
        self._kind, self._length, self._size, self._first = kind, length, size, first_seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> np.ndarray:
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} of {self._length} procedural pictures")
        return self._paint(self._first + index % self._length, self._size)

    def __repr__(self) -> str:
        return f"ProceduralSource({self._kind!r}, {self._length}, {self._size}, {self._first})"
