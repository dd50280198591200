"""Decoded pictures in the memory of the devices, and batches that the devices draw themselves.

A picture is kept as its largest central square, uint8, as large as the largest scale of the crops
needs it. The pictures are split among all devices, and a batch is gathered from them: it is the
same for any number of devices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.data import images, resizing
from metastyle_jax.data.pipeline import STREAMS, Crop, ImageSource
from metastyle_jax.metalearning.structures import Axes, Batch, Leaf

ONE_DEVICE = Axes()


@flax.struct.dataclass
class Pictures:
    """Pictures of one kind.

    Attributes:
      pixels: (M, side, side, 3) uint8; on several devices each has as many rows.
      count: N, the first rows; the others only fill up the last devices.
    """

    pixels: Leaf
    count: int = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class Caches:
    """All pictures of a training."""

    content: Pictures
    style: Pictures


def side_of(crop: Crop) -> int:
    """Pixels per side of a cached picture: no crop has to enlarge it."""
    return math.ceil(crop.size * max(crop.min_scale, crop.max_scale))


def read(
    source: ImageSource,
    rows: Sequence[int],
    side: int,
    *,
    threads: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Decode some of the pictures of a source.

    Args:
      source: of N pictures.
      rows: numbers of pictures; those from N on become black.
      side: of the squares, pixels.
      threads: that decode.
      progress: called after each picture.

    Returns:
      (len(rows), side, side, 3) uint8.

    Raises:
      UserError: from the source.
    """
    pixels = np.zeros((len(rows), side, side, 3), np.uint8)

    def decode(place: int) -> None:
        if rows[place] < len(source):
            square = resizing.center_crop_resized(source[rows[place]], side)
            pixels[place] = images.as_uint8(square)

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for _ in pool.map(decode, range(len(rows))):
            progress()
    return pixels


def draw(
    caches: Caches,
    step: jax.Array,
    *,
    counts: tuple[int, int],
    crop: Crop,
    seed: int,
    axes: Axes = ONE_DEVICE,
) -> Batch:
    """The batch of a step: a function of pictures, crop, seed and step alone.

    As in `pipeline.batches`, styles, support and query each go through all pictures in a new random
    order every epoch, and each picture gets a new random crop.

    Args:
      caches: on several devices, the rows of this one.
      step: () int32, the number of steps before.
      counts: S styles and B contents, over all devices.
      crop: how they are cut.
      seed: of order and crops.
      axes: mapped axes: those that split the batch, and that the rows are split over.

    Returns:
      This device's part of the batch, float32 in [0, 1].
    """
    styles, contents = counts
    streams = {
        "styles": (caches.style, styles, axes.styles),
        "support": (caches.content, contents, axes.contents),
        "query": (caches.content, contents, axes.contents),
    }
    keys = jax.random.split(jax.random.key(seed), len(STREAMS))
    return Batch(
        **{
            name: _stream(*streams[name][:2], key, step, crop, axes, streams[name][2])
            for name, key in zip(STREAMS, keys, strict=True)
        }
    )


def rows(
    lengths: Mapping[str, int], *, counts: tuple[int, int], seed: int, step: int
) -> dict[str, list[int]]:
    """Which pictures the batch of a step has, as `draw` draws them; see `pipeline.rows`."""
    of_styles, of_contents = (lengths["style"], counts[0]), (lengths["content"], counts[1])
    found, keys = {}, jax.random.split(jax.random.key(seed), len(STREAMS))
    for name, key, (length, count) in zip(
        STREAMS, keys, (of_styles, of_contents, of_contents), strict=True
    ):
        order, _ = jax.random.split(key)
        numbers = step * count + jnp.arange(count)
        found[name] = [int(row) for row in _shuffled(order, numbers, length)]
    return found


def _stream(
    pictures: Pictures,
    count: int,
    key: jax.Array,
    step: jax.Array,
    crop: Crop,
    axes: Axes,
    split: str | None,
) -> jax.Array:
    """The next `count` crops of one stream, or this device's part of them."""
    order, cut = jax.random.split(key)
    numbers = step * count + jnp.arange(count)
    squares = _gather(pictures.pixels, _shuffled(order, numbers, pictures.count), axes, split)
    if split is not None:
        share = len(squares)
        numbers = jax.lax.dynamic_slice_in_dim(numbers, jax.lax.axis_index(split) * share, share)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(cut, numbers)
    return jax.vmap(functools.partial(_crop, crop=crop))(squares, keys)


def _shuffled(key: jax.Array, numbers: jax.Array, count: int) -> jax.Array:
    """Rows of consecutive elements of an endless stream: each epoch is another order of all."""
    epochs, places = jnp.divmod(numbers, count)
    most = (len(numbers) + count - 2) // count + 1  # epochs that they can touch

    def order(epoch: jax.Array) -> jax.Array:
        return jax.random.permutation(jax.random.fold_in(key, epoch), count)

    orders = jax.vmap(order)(epochs[0] + jnp.arange(most))
    return orders[epochs - epochs[0], places]


def _gather(pixels: jax.Array, rows: jax.Array, axes: Axes, split: str | None) -> jax.Array:
    """Pictures by their rows among those of all devices; of these, this device's part."""
    if not axes.names:
        return pixels[rows]
    rows = rows - jax.lax.axis_index(axes.names) * len(pixels)
    here = (rows >= 0) & (rows < len(pixels))
    # one device has each picture, the others have zeros
    mine = jnp.where(here[:, None, None, None], pixels[jnp.clip(rows, 0, len(pixels) - 1)], 0)
    others = tuple(name for name in axes.names if name != split)
    if others:
        mine = jax.lax.psum(mine, others)
    return mine if split is None else jax.lax.psum_scatter(mine, split, tiled=True)


def _crop(square: jax.Array, key: jax.Array, *, crop: Crop) -> jax.Array:
    """What `resizing.random_resized_crop` and a flip do, for (side, side, 3) uint8."""
    of_scale, of_corner, of_flip = jax.random.split(key, 3)
    most = max(crop.min_scale, crop.max_scale)
    window = len(square) / jax.random.uniform(of_scale, minval=crop.min_scale, maxval=most)
    corner = jax.random.uniform(of_corner, (2,)) * (len(square) - window)
    zoom = crop.size / window
    cut = jax.image.scale_and_translate(
        square.astype(jnp.float32) / 255,
        (crop.size, crop.size, 3),
        (0, 1),
        jnp.stack([zoom, zoom]),
        -corner * zoom,
        "lanczos3",
    )
    cut = jnp.clip(cut, 0, 1)
    flip = jax.random.bernoulli(of_flip) & crop.flip
    return jnp.where(flip, cut[:, ::-1], cut)
