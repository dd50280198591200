"""Pictures of any size by programs of one size: tiles, with the norms of the whole picture.

A new size costs no compilation. Memory grows with the picture by three maps of a quarter of its
sides, or one of half of its sides and one of a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import jax
import numpy as np

from metastyle_jax.networks import stylization_network, tile_network
from metastyle_jax.networks.tile_network import Frame, Moments, Norm
from metastyle_jax.runtime import compilation
from metastyle_jax.stylization.tiled_picture import TiledPicture, mirrored

Styles = Sequence[stylization_network.Style]
Progress = Callable[[float], None]


class Stylize(Protocol):
    """What `stylize` is for those who give one style and no more than this."""

    def __call__(
        self,
        weights: stylization_network.Weights,
        styles: Styles,
        image: np.ndarray,
        *,
        noise: float,
        progress: Progress,
    ) -> np.ndarray: ...


# sides in pixels, multiples of 4: pictures that one small tile holds are not drawn in a large one
SMALL_TILE, TILE = 64, 256

# above this size, maps are kept in float16: half of the memory, for a difference below 1/255
HALF_PRECISION_PIXELS = 12e6

# up to so many tiles, what is needed twice is kept (9 MB a tile) instead of made again
KEPT_TILES = 8

# convolutions that two programs need are programs of their own: compiled once
_first_convolution = compilation.jit(tile_network.first_convolution)
_first_moments = compilation.jit(tile_network.first_moments)
_second_convolution = compilation.jit(tile_network.second_convolution)
_third_convolution = compilation.jit(tile_network.third_convolution)
_residual_convolution = compilation.jit(tile_network.residual_convolution)
_add_block = compilation.jit(tile_network.add_block)
_first_upsampling = compilation.jit(tile_network.first_upsampling)
_second_upsampling = compilation.jit(tile_network.second_upsampling, static_argnames="blurs")
_last_moments = compilation.jit(tile_network.last_moments)
_picture = compilation.jit(tile_network.picture)


class Memory:
    """Moments of the norms, smoothed over the pictures of a sequence.

    Args:
      keep: share of the earlier pictures, 0 to 1; 0 keeps nothing.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self.moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def smoothed(self, name: str, *new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (C,) of a convolution, mixed with those before; they are remembered."""
        old = self.moments.get(name, new)
        pairs = zip(old, new, strict=True)
        mean, variance = (self._keep * was + (1 - self._keep) * now for was, now in pairs)
        self.moments[name] = (mean, variance)
        return mean, variance


def no_progress(done: float) -> None:
    """Say nothing of the share of the work that is done."""


def stylize(
    weights: stylization_network.Weights,
    styles: Styles,
    image: np.ndarray,
    *,
    noise: float = 0.0,
    noise_offset: tuple[int, int] = (0, 0),
    masks: np.ndarray | None = None,
    memory: Memory | None = None,
    tile: int | None = None,
    progress: Progress = no_progress,
) -> np.ndarray:
    """Stylize a picture of any size.

    Args:
      weights: of the network.
      styles: one style, or K styles that `masks` choose from; leaves (C,).
      image: (H, W, 3), uint8 or floats in [0, 1], 16 pixels or more on each side.
      noise: standard deviation of the input noise, 0 to 1.
      noise_offset: rows and columns by which the noise is moved.
      masks: (K, H, W), shares of the styles at each pixel, their sum 1; None for one style.
      memory: of a sequence of pictures, see `Memory`; it is changed.
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
    weights = jax.device_put(weights)  # once, not for every tile
    picture = TiledPicture(image, tile, noise, noise_offset)
    run = _Run(weights, styles, picture, masks, memory, progress)
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
        picture: TiledPicture,
        masks: np.ndarray | None,
        memory: Memory | None,
        progress: Progress,
    ) -> None:
        self._memory = memory
        self._weights, self._styles, self._picture = weights, styles, picture
        self._masks = None if masks is None else _Masks(masks, picture.padded, picture.tile_side)
        self._norms: dict[str, Norm] = {}
        self._dtype = np.float16 if np.prod(picture.padded) > HALF_PRECISION_PIXELS else np.float32
        blocks = stylization_network.count_residual_blocks(weights)
        self._progress, self._steps, self._all = progress, 0, 6 + 2 * blocks

    def _map(self, stride: int, name: str) -> _Map:
        """A map for the output of a convolution."""
        height, width = self._picture.padded
        channels = self._weights[name]["kernel"].shape[-1]
        shape = (height // stride, width // stride, channels)
        return _Map(shape, stride, self._picture.tile_side // stride, self._dtype)

    def encode(self) -> None:
        first, second, third = (self._weights[name] for name in ("conv1", "conv2", "conv3"))

        def make(frame: Frame) -> jax.Array:
            image = self._picture.tile(frame, tile_network.IMAGE_HALO, 4)
            return _first_convolution(first, image)

        given = self._kept_once(make)
        frames = self._picture.frames()
        self._learn("conv1", ((frame, _first_moments(given(frame), frame)) for frame in frames))
        half = self._map(2, "conv2")
        self._fill(
            half,
            "conv2",
            lambda frame: _second_convolution(
                second,
                self._norms["conv1"],
                given(frame),
                self._mask(frame, 1, 4, 0),
                frame,
            ),
        )
        half.reflect()
        self._x = self._map(4, "conv3")
        self._fill(
            self._x,
            "conv3",
            lambda frame: _third_convolution(
                third,
                self._norms["conv2"],
                half.read(frame, 1, 0),
                self._mask(frame, 2, 1, 0),
                frame,
            ),
        )
        for frame in self._picture.frames():  # what the residual blocks begin with
            tile = self._x.read(frame)
            self._x.write(frame, _normalized(tile, self._norms["conv3"], self._mask(frame, 4)))
        self._x.reflect()
        self._y, self._z = self._map(4, "conv3"), self._map(4, "conv3")

    def add_residual_block(self, name: str) -> None:
        self._convolve(f"{name}_1", None, self._x, self._y)
        self._convolve(f"{name}_2", self._norms[f"{name}_1"], self._y, self._z)
        norm = self._norms[f"{name}_2"]
        for frame in self._picture.frames():
            x, z = self._x.read(frame), self._z.read(frame)
            self._x.write(frame, _add_block(x, z, norm, self._mask(frame, 4)))
        self._x.reflect()

    def _convolve(self, name: str, norm: Norm | None, x: _Map, y: _Map) -> None:
        self._fill(
            y,
            name,
            lambda frame: _residual_convolution(
                self._weights[name],
                norm,
                x.read(frame, 1, 1),
                None if norm is None else self._mask(frame, 4, 1, 1),
                frame,
            ),
        )
        y.reflect()

    def decode(self) -> np.ndarray:
        del self._y, self._z
        blurs = stylization_network.UP1[True] in self._weights
        name = stylization_network.UP1[blurs]
        halo = tile_network.HALF_HALO
        self._x.repeat_borders()
        half = self._map(2, name)
        self._fill(
            half,
            "up1",
            lambda frame: _first_upsampling(self._weights[name], self._x.read(frame, 1, 1), frame),
        )
        del self._x

        def make(frame: Frame) -> jax.Array:
            y, mask = half.read(frame, halo, halo), self._mask(frame, 2, halo, halo)
            norm = self._norms["up1"]
            return _second_upsampling(self._weights["up2"], norm, y, mask, frame, blurs=blurs)

        given = self._kept_once(make)
        frames = self._picture.frames()
        self._learn("up2", ((frame, _last_moments(given(frame), frame)) for frame in frames))
        layer, norm = self._weights["conv4"], self._norms["up2"]
        for frame in self._picture.frames():
            mask = self._mask(frame, 1, halo, halo)
            self._picture.write(frame, _picture(layer, norm, given(frame), mask, frame))
        self._step()
        return self._picture.drawn

    def _kept_once(self, program: Callable[[Frame], jax.Array]) -> Callable[[Frame], jax.Array]:
        """The program, which in a small picture keeps what it makes of a tile for a second call."""
        if sum(1 for _ in self._picture.frames()) > KEPT_TILES:
            return program
        kept: dict[Frame, jax.Array] = {}

        def first_or_second(frame: Frame) -> jax.Array:
            if frame not in kept:
                kept[frame] = program(frame)
                return kept[frame]
            return kept.pop(frame)

        return first_or_second

    def _fill(
        self, y: _Map, name: str, program: Callable[[Frame], tuple[jax.Array, Moments]]
    ) -> None:
        """Make all tiles of a convolution's output, and learn its norm."""

        def moments() -> Iterator[tuple[Frame, Moments]]:
            for frame in self._picture.frames():
                tile, each = program(frame)
                y.write(frame, tile)
                yield frame, each

        self._learn(name, moments())

    def _mask(
        self, frame: Frame, stride: int, before: int = 0, after: int = 0
    ) -> np.ndarray | None:
        return None if self._masks is None else self._masks.tile(frame, stride, before, after)

    def _learn(self, name: str, tiles: Iterable[tuple[Frame, Moments]]) -> None:
        """Join the moments of all tiles (Chan et al. 1983) and keep the norm that they give."""
        frames, moments = zip(*tiles, strict=True)
        side = self._picture.tile_side
        shares = np.array(
            [
                min(side, frame.height - frame.top)
                * min(side, frame.width - frame.left)
                / (int(frame.height) * int(frame.width))
                for frame in frames
            ]
        )[:, None]
        means, variances = (
            np.array([np.asarray(each[part]) for each in moments], np.float64) for part in (0, 1)
        )
        mean = (shares * means).sum(axis=0)
        variance = (shares * (variances + np.square(means - mean))).sum(axis=0)
        if self._memory is not None:
            mean, variance = self._memory.smoothed(name, mean, variance)
        scale, bias = (
            np.stack([np.asarray(style[f"{name}_norm"][leaf]) for style in self._styles])
            for leaf in ("scale", "bias")
        )
        if self._masks is None:
            scale, bias = scale[0], bias[0]
        norm = tile_network.known_norm(mean, variance, scale, bias)
        self._norms[name] = jax.tree.map(np.float32, norm)
        self._step()

    def _step(self) -> None:
        self._steps += 1
        self._progress(self._steps / self._all)


@compilation.jit
def _normalized(y: jax.Array, norm: Norm, masks: jax.Array | None) -> jax.Array:
    return jax.nn.relu(tile_network.normalize(y, norm, masks))


class _Map:
    """Features at a lower resolution, with room around them for neighbors."""

    def __init__(self, shape: tuple[int, int, int], stride: int, side: int, dtype: type) -> None:
        self._height, self._width, channels = shape
        self._stride, self._side, self._halo = stride, side, tile_network.HALF_HALO
        rows, columns = (-(-size // side) * side + 2 * self._halo for size in shape[:2])
        self._values = np.zeros((rows, columns, channels), dtype)

    def read(self, frame: Frame, before: int = 0, after: int = 0) -> np.ndarray:
        """(1, side + before + after, ..., C) float32."""
        top, left = (self._halo + start // self._stride - before for start in frame[:2])
        size = self._side + before + after
        tile = self._values[None, top : top + size, left : left + size]
        return tile.astype(np.float32)

    def write(self, frame: Frame, tile: jax.Array) -> None:
        top, left = (self._halo + start // self._stride for start in frame[:2])
        self._values[top : top + self._side, left : left + self._side] = np.asarray(tile)[0]

    def reflect(self) -> None:
        """Put one pixel around the borders: what lies one pixel inside of them."""
        for values, size in self._both_axes():
            values[self._halo - 1] = values[self._halo + 1]
            values[self._halo + size] = values[self._halo + size - 2]

    def repeat_borders(self) -> None:
        """Put one pixel around the borders: a copy of the border itself."""
        for values, size in self._both_axes():
            values[self._halo - 1] = values[self._halo]
            values[self._halo + size] = values[self._halo + size - 1]

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
            mirrored(start // stride - before, (start + self._side) // stride + after, size)
            for start, size in zip(frame[:2], level.shape[:2], strict=True)
        )
        return level[np.ix_(rows, columns)][None]


def _halved(masks: np.ndarray) -> np.ndarray:
    """(H, W, K) to (H / 2, W / 2, K), means of four pixels."""
    height, width, count = masks.shape
    return masks.reshape(height // 2, 2, width // 2, 2, count).mean(axis=(1, 3))
