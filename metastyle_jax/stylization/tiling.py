"""Pictures of any size by programs of one size: tiles, with the norms of the whole picture.

A new size costs no compilation, and memory grows with the picture only by what lies between its
residual blocks: three maps of a quarter of its sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from metastyle_jax.networks import input_noise, stylization_network, tile_network
from metastyle_jax.networks.tile_network import Frame, Moments, Norm
from metastyle_jax.runtime import compilation

Styles = Sequence[stylization_network.Style]
Progress = Callable[[float], None]

# sides in pixels, multiples of 4: pictures that one small tile holds are not drawn in a large one
SMALL_TILE, TILE = 64, 256

# above this size, maps are kept in float16: half of the memory, for a difference below 1/255
HALF_PRECISION_PIXELS = 12e6

_encode = compilation.jit(tile_network.encode, static_argnames="convolutions")
_convolve = compilation.jit(tile_network.residual_convolution)
_add = compilation.jit(tile_network.add_block)
_decode = compilation.jit(tile_network.decode, static_argnames="convolutions")


def no_progress(done: float) -> None:
    """Say nothing of the share of the work that is done."""


def stylize(
    weights: stylization_network.Weights,
    styles: Styles,
    image: np.ndarray,
    *,
    noise: float = 0.0,
    masks: np.ndarray | None = None,
    tile: int | None = None,
    progress: Progress = no_progress,
) -> np.ndarray:
    """Stylize a picture of any size.

    Args:
      weights: of the network.
      styles: one style, or K styles that `masks` choose from; leaves (C,).
      image: (H, W, 3), uint8 or floats in [0, 1], 16 pixels or more on each side.
      noise: standard deviation of the input noise, 0 to 1.
      masks: (K, H, W), shares of the styles at each pixel, their sum 1; None for one style.
      tile: side of a tile, pixels, a multiple of 4 and 16 or more; each value has its own programs.
        By default that of `TILE` and `SMALL_TILE` which suits the picture.
      progress: called with the share of the work that is done, 0 to 1.

    Returns:
      (H, W, 3) of the same dtype.

    Raises:
      ValueError: a side is below 16 pixels.
    """
    stylization_network.check_size(*image.shape[:2])
    tile = tile or (SMALL_TILE if max(image.shape[:2]) <= SMALL_TILE else TILE)
    run = _Run(weights, styles, _Picture(image, noise, tile), masks, progress)
    run.encode()
    for block in range(1, stylization_network.count_residual_blocks(weights) + 1):
        run.add_residual_block(f"residual{block}")
    return run.decode()


class _Run:
    """One picture on its way through the network."""

    def __init__(
        self,
        weights: stylization_network.Weights,
        styles: Styles,
        picture: _Picture,
        masks: np.ndarray | None,
        progress: Progress,
    ) -> None:
        self._weights, self._styles, self._picture = weights, styles, picture
        self._masks = None if masks is None else _Masks(masks, picture.padded, picture.tile_side)
        self._norms: dict[str, Norm] = {}
        height, width = picture.padded
        channels = weights["conv3"]["kernel"].shape[-1]
        dtype = np.float16 if height * width > HALF_PRECISION_PIXELS else np.float32
        self._x, self._y, self._z = (
            _Map((height // 4, width // 4, channels), picture.tile_side // 4, dtype)
            for _ in range(3)
        )
        blocks = stylization_network.count_residual_blocks(weights)
        self._progress, self._steps, self._all = progress, 0, 7 + 3 * blocks

    def encode(self) -> None:
        names = ("conv1", "conv2", "conv3")
        for count, name in enumerate(names, 1):
            moments = []
            for frame, size in self._tiles():
                masks = self._mask_tiles(frame, {1: (4, 0), 2: (1, 0)})
                image = self._picture.tile(frame, tile_network.ENCODER_HALO, 4)
                y, each = _encode(
                    self._known("conv1", "conv2", "conv3", up_to=count),
                    self._norms_of("conv1", "conv2", up_to=count - 1),
                    image,
                    masks,
                    frame,
                    convolutions=count,
                )
                moments.append((each, size))
                if count == 3:
                    self._y.write(frame, y)
            self._learn(name, moments)
        self._y.reflect()
        for frame, _ in self._tiles():  # the first block's input: norm and ReLU of conv3
            tile = _normalized(self._y.read(frame, 0), self._norms["conv3_norm"], self._mask(frame))
            self._x.write(frame, tile)
        self._x.reflect()
        self._step()

    def add_residual_block(self, name: str) -> None:
        self._residual_convolution(f"{name}_1", None, self._x, self._y)
        self._residual_convolution(f"{name}_2", self._norms[f"{name}_1_norm"], self._y, self._z)
        norm = self._norms[f"{name}_2_norm"]
        for frame, _ in self._tiles():
            x, z = self._x.read(frame, 0), self._z.read(frame, 0)
            self._x.write(frame, _add(x, z, norm, self._mask(frame)))
        self._x.reflect()
        self._step()

    def _residual_convolution(self, name: str, norm: Norm | None, x: _Map, y: _Map) -> None:
        moments = []
        halo = tile_network.RESIDUAL_HALO
        for frame, size in self._tiles():
            masks = self._mask(frame, halo) if norm is not None else None
            tile, each = _convolve(self._weights[name], norm, x.read(frame, halo), masks, frame)
            y.write(frame, tile)
            moments.append((each, size))
        y.reflect()
        self._learn(name, moments)

    def decode(self) -> np.ndarray:
        self._x.repeat_borders()
        up1 = stylization_network.UP1[stylization_network.UP1[True] in self._weights]
        for count, name in enumerate(("up1", "up2", "conv4"), 1):
            moments = []
            for frame, size in self._tiles():
                y, each = _decode(
                    self._known(up1, "up2", "conv4", up_to=count),
                    self._norms_of("up1", "up2", up_to=count - 1),
                    self._x.read(frame, tile_network.DECODER_HALO),
                    self._mask_tiles(frame, {2: (4, 4), 1: (4, 4)}),
                    frame,
                    convolutions=count,
                )
                if each is None:
                    self._picture.write(frame, y)
                else:
                    moments.append((each, size))
            if moments:
                self._learn(name, moments)
            else:
                self._step()
        return self._picture.drawn

    def _tiles(self) -> Iterator[tuple[Frame, int]]:
        """Each tile's frame, and how many pixels of the picture it holds."""
        (height, width), side = self._picture.padded, self._picture.tile_side
        for top in range(0, height, side):
            for left in range(0, width, side):
                size = min(side, height - top) * min(side, width - left)
                yield Frame(*map(np.int32, (top, left, height, width))), size

    def _known(self, *names: str, up_to: int) -> dict[str, Any]:
        return {name: self._weights[name] for name in names[:up_to]}

    def _norms_of(self, *names: str, up_to: int) -> dict[str, Norm]:
        return {f"{name}_norm": self._norms[f"{name}_norm"] for name in names[:up_to]}

    def _mask(self, frame: Frame, halo: int = 0) -> np.ndarray | None:
        return None if self._masks is None else self._masks.tile(frame, 4, halo, halo)

    def _mask_tiles(
        self, frame: Frame, around: Mapping[int, tuple[int, int]]
    ) -> dict[int, np.ndarray] | None:
        if self._masks is None:
            return None
        return {stride: self._masks.tile(frame, stride, *halo) for stride, halo in around.items()}

    def _learn(self, name: str, moments: Sequence[tuple[Moments, int]]) -> None:
        """Join the moments of all tiles (Chan et al. 1983) and keep the norm that they give."""
        sizes = np.array([size for _, size in moments], np.float64)
        means = np.array([each.mean for each, _ in moments], np.float64)
        squares = np.array([each.squares for each, _ in moments], np.float64)
        shares = (sizes / sizes.sum())[:, None]
        mean = (shares * means).sum(axis=0)
        # every tile's sum of squares is over positions of the same stride
        positions = sizes / _stride(name) ** 2
        variance = squares.sum(axis=0) / positions.sum()
        variance = variance + (shares * np.square(means - mean)).sum(axis=0)
        scale, bias = (
            np.stack([np.asarray(style[f"{name}_norm"][leaf]) for style in self._styles])
            for leaf in ("scale", "bias")
        )
        if self._masks is None:
            scale, bias = scale[0], bias[0]
        norm = tile_network.known_norm(mean, variance, scale, bias)
        self._norms[f"{name}_norm"] = jax.tree.map(np.float32, norm)
        self._step()

    def _step(self) -> None:
        self._steps += 1
        self._progress(self._steps / self._all)


def _stride(name: str) -> int:
    return {"conv1": 1, "conv2": 2, "up1": 2, "up2": 1}.get(name, 4)


@compilation.jit
def _normalized(y: jax.Array, norm: Norm, masks: jax.Array | None) -> jax.Array:
    return jax.nn.relu(tile_network.normalize(y, norm, masks))


def _mirrored(start: int, stop: int, size: int) -> np.ndarray:
    """Positions from `start` to `stop`, reflected at the borders of `size`."""
    at = np.abs(np.arange(start, stop))
    return np.clip(np.where(at >= size, 2 * (size - 1) - at, at), 0, size - 1)


class _Picture:
    """A picture in tiles, with its noise, and what is drawn of it."""

    def __init__(self, image: np.ndarray, noise: float, tile_side: int) -> None:
        self._image, self._noise, self.tile_side = image, np.float32(noise), tile_side
        height, width = image.shape[:2]
        multiple = stylization_network.DOWNSAMPLING
        self.padded = (height + -height % multiple, width + -width % multiple)
        self.drawn = np.empty_like(image)

    def tile(self, frame: Frame, before: int, after: int) -> np.ndarray:
        """(1, side + before + after, ..., 3) float32 in [0, 1], reflected at the borders."""
        at = []
        for start, padded, true in zip(frame[:2], self.padded, self._image.shape[:2], strict=True):
            positions = _mirrored(start - before, start + self.tile_side + after, padded)
            # the picture itself is first reflected to a multiple of 4
            at.append(np.where(positions < true, positions, 2 * (true - 1) - positions))
        tile = self._image[np.ix_(*at)]
        tile = tile.astype(np.float32) / (255 if tile.dtype == np.uint8 else 1)
        if self._noise:
            texture = input_noise.texture()
            noise = texture[np.ix_(*(each % len(texture) for each in at))]
            tile = np.clip(tile + self._noise * noise[..., None], 0, 1)
        return tile[None]

    def write(self, frame: Frame, tile: jax.Array) -> None:
        rows, columns = (slice(start, start + self.tile_side) for start in frame[:2])
        target = self.drawn[rows, columns]
        values = np.asarray(tile)[0, : target.shape[0], : target.shape[1]]
        if target.dtype == np.uint8:
            values = np.rint(values * 255)
        target[...] = values


class _Map:
    """Features at a quarter of the picture's resolution, with room around them for neighbors."""

    def __init__(self, shape: tuple[int, int, int], tile_side: int, dtype: type) -> None:
        self._height, self._width, channels = shape
        self._side, self._halo = tile_side, tile_network.DECODER_HALO
        rows, columns = (-(-size // tile_side) * tile_side + 2 * self._halo for size in shape[:2])
        self._values = np.zeros((rows, columns, channels), dtype)

    def read(self, frame: Frame, halo: int) -> np.ndarray:
        """(1, side + 2 * halo, ..., C) float32."""
        top, left = (self._halo + start // 4 - halo for start in frame[:2])
        size = self._side + 2 * halo
        tile = self._values[None, top : top + size, left : left + size]
        return tile.astype(np.float32)

    def write(self, frame: Frame, tile: jax.Array) -> None:
        top, left = (self._halo + start // 4 for start in frame[:2])
        self._values[top : top + self._side, left : left + self._side] = np.asarray(tile)[0]

    def reflect(self) -> None:
        """Put one pixel around the borders: what lies one pixel inside of them."""
        for values, size in self._both_axes():
            values[self._halo - 1] = values[self._halo + 1]
            values[self._halo + size] = values[self._halo + size - 2]

    def repeat_borders(self) -> None:
        """Put copies of the border pixels around the borders."""
        for values, size in self._both_axes():
            values[: self._halo] = values[self._halo]
            end = self._halo + size
            values[end : end + self._halo] = values[end - 1]

    def _both_axes(self) -> Iterator[tuple[np.ndarray, int]]:
        yield self._values, self._height
        yield self._values.swapaxes(0, 1), self._width


class _Masks:
    """Shares of the styles at each pixel, at the three resolutions of the network."""

    def __init__(self, masks: np.ndarray, padded: tuple[int, int], tile_side: int) -> None:
        self._side = tile_side
        extra = [(0, side - size) for side, size in zip(padded, masks.shape[1:], strict=True)]
        full = np.pad(masks, [(0, 0), *extra], mode="edge").transpose(1, 2, 0).astype(np.float32)
        self._levels = {1: full, 2: _halved(full)}
        self._levels[4] = _halved(self._levels[2])

    def tile(self, frame: Frame, stride: int, before: int, after: int) -> np.ndarray:
        """(1, side / stride + before + after, ..., K), reflected at the borders."""
        level = self._levels[stride]
        rows, columns = (
            _mirrored(start // stride - before, (start + self._side) // stride + after, size)
            for start, size in zip(frame[:2], level.shape[:2], strict=True)
        )
        return level[np.ix_(rows, columns)][None]


def _halved(masks: np.ndarray) -> np.ndarray:
    """(H, W, K) to (H / 2, W / 2, K), means of four pixels."""
    height, width, count = masks.shape
    return masks.reshape(height // 2, 2, width // 2, 2, count).mean(axis=(1, 3))
