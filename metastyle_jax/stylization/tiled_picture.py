"""A picture in tiles: what a network sees of it, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from metastyle_jax.networks import input_noise, stylization_network
from metastyle_jax.networks.tile_network import Frame


def mirrored(start: int, stop: int, size: int) -> np.ndarray:
    """Positions from `start` to `stop`, reflected at the borders of `size`."""
    at = np.abs(np.arange(start, stop))
    return np.clip(np.where(at >= size, 2 * (size - 1) - at, at), 0, size - 1)


class TiledPicture:
    """A picture in tiles, with its noise, and what is drawn of it."""

    def __init__(
        self, image: np.ndarray, tile_side: int, noise: float, noise_offset: tuple[int, int]
    ) -> None:
        self._image, self.tile_side = image, tile_side
        self._noise, self._noise_offset = np.float32(noise), noise_offset
        height, width = image.shape[:2]
        multiple = stylization_network.DOWNSAMPLING
        self.padded = (height + -height % multiple, width + -width % multiple)
        self.drawn = np.empty_like(image)

    def frames(self) -> Iterator[Frame]:
        """Where the tiles lie."""
        height, width = self.padded
        for top in range(0, height, self.tile_side):
            for left in range(0, width, self.tile_side):
                yield Frame(*map(np.int32, (top, left, height, width)))

    def tile(self, frame: Frame, before: int, after: int) -> np.ndarray:
        """(1, side + before + after, ..., 3) float32 in [0, 1], reflected at the borders."""
        at = []
        for start, padded, true in zip(frame[:2], self.padded, self._image.shape[:2], strict=True):
            positions = mirrored(start - before, start + self.tile_side + after, padded)
            # the picture itself is first reflected to a multiple of 4
            at.append(np.where(positions < true, positions, 2 * (true - 1) - positions))
        tile = self._image[np.ix_(*at)]
        tile = tile.astype(np.float32) / (255 if tile.dtype == np.uint8 else 1)
        if self._noise:
            texture = input_noise.texture()
            moved = (each - by for each, by in zip(at, self._noise_offset, strict=True))
            noise = texture[np.ix_(*(each % len(texture) for each in moved))]
            tile = np.clip(tile + self._noise * noise[..., None], 0, 1)
        return tile[None]

    def write(self, frame: Frame, tile: jax.Array) -> None:
        rows, columns = (slice(start, start + self.tile_side) for start in frame[:2])
        target = self.drawn[rows, columns]
        values = np.asarray(tile)[0, : target.shape[0], : target.shape[1]]
        if target.dtype == np.uint8:
            values = np.rint(values * 255)
        target[...] = values
