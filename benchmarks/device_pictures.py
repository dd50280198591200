"""All training pictures in device memory, and batches of crops that the device itself cuts."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from metastyle_jax.metalearning.structures import Batch


@flax.struct.dataclass
class Pictures:
    """N pictures of any size.

    Attributes:
      pixels: (P, 3) uint8, the rows of one picture after those of another.
      starts: (N,) int32, where each begins.
      heights, widths: (N,) int32.
    """

    pixels: jax.Array
    starts: jax.Array
    heights: jax.Array
    widths: jax.Array


def read_tar(path: Path, least: int, limit: int | None = None) -> Pictures:
    """The pictures of a tar, in the order of the file.

    Args:
      path: a tar of image files and nothing else.
      least: the least side, pixels; smaller pictures are enlarged.
      limit: how many to read; None for all.
    """
    with tarfile.open(path) as tar:
        members = [member for member in tar if member.isfile()][:limit]
        files = [tar.extractfile(member).read() for member in members]  # pyright: ignore
    with ThreadPoolExecutor() as threads:
        return from_arrays(list(threads.map(lambda data: _decode(data, least), files)))


def from_arrays(arrays: list[np.ndarray]) -> Pictures:
    """Pictures of (H, W, 3) uint8 arrays."""
    sizes = np.array([array.shape[:2] for array in arrays], np.int64)
    ends = np.cumsum(sizes.prod(axis=1))
    assert ends[-1] < 2**31, "more pixels than 32-bit indices reach"
    return Pictures(
        jnp.asarray(np.concatenate([array.reshape(-1, 3) for array in arrays])),
        jnp.asarray(np.concatenate([[0], ends[:-1]]).astype(np.int32)),
        *(jnp.asarray(sizes[:, axis].astype(np.int32)) for axis in (0, 1)),
    )


def _decode(data: bytes, least: int) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = least / min(image.size)
    if scale > 1:
        size = [max(least, round(side * scale)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    return np.asarray(image)


def crops(pictures: Pictures, key: jax.Array, count: int, size: int) -> jax.Array:
    """(count, size, size, 3) float32 in [0, 1]: random crops of different pictures, half mirrored.

    Args:
      pictures: at least `count` of them, no side below `size`.
      key: the crops are a function of it.
      count: how many.
      size: of the crops, pixels.
    """
    which, row, column, flip = jax.random.split(key, 4)
    number = jax.random.choice(which, len(pictures.starts), (count,), replace=False)
    heights, widths = pictures.heights[number], pictures.widths[number]
    top = jax.random.randint(row, (count,), 0, heights - size + 1)
    left = jax.random.randint(column, (count,), 0, widths - size + 1)
    steps = jnp.arange(size)[None]
    mirrored = jax.random.bernoulli(flip, shape=(count,))[:, None]
    columns = left[:, None] + jnp.where(mirrored, size - 1 - steps, steps)
    rows = (top[:, None] + steps) * widths[:, None] + pictures.starts[number][:, None]
    cut = pictures.pixels[rows[:, :, None] + columns[:, None, :]]
    return cut.astype(jnp.float32) / 255


def batch(
    content: Pictures, style: Pictures, key: jax.Array, counts: tuple[int, int], size: int
) -> Batch:
    """A batch of `counts` = (styles, contents); support and query are drawn independently."""
    keys = jax.random.split(key, 3)
    return Batch(
        crops(style, keys[0], counts[0], size),
        crops(content, keys[1], counts[1], size),
        crops(content, keys[2], counts[1], size),
    )
