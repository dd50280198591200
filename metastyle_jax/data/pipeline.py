"""Training batches: styles with two independent sets of contents, a pure function of the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, cast

import grain
import numpy as np

from metastyle_jax.data import images, resizing
from metastyle_jax.metalearning.structures import Batch

STREAMS = ("styles", "support", "query")
ELEMENTS = 2**50  # that a stream runs through: more than any training


class ImageSource(Protocol):
    """Random access to images (H, W, 3) of any size, uint8 or float32 in [0, 1]."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Crop:
    """How an image is cut to a square.

    Attributes:
      size: H = W of the crop, pixels.
      min_scale, max_scale: the short side is first resized to a random length between these, in
        units of `size`; 1 or more. Both 1: no change of scale.
      flip: mirror half of the crops left to right.
    """

    size: int
    min_scale: float = 1.0
    max_scale: float = 1.3
    flip: bool = True


@dataclasses.dataclass(frozen=True)
class Order:
    """Which images come when.

    Attributes:
      seed: of order and crops, not negative; another seed gives an unrelated order.
      start_step: number of the first batch in the sequence that starts at 0, so that a resumed run
        continues with the batches that an uninterrupted one would have seen.
    """

    seed: int
    start_step: int = 0


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are decoded, per stream.

    Attributes:
      threads: 0 decodes in the calling thread.
      prefetch: batches decoded ahead.
    """

    threads: int = 4
    prefetch: int = 4


DEFAULT_READING = Reading()


def batches(
    content_source: ImageSource,
    style_source: ImageSource,
    *,
    styles: int,
    contents: int,
    shares: tuple[tuple[int, int], tuple[int, int]] | None = None,
    content_crop: Crop,
    style_crop: Crop,
    order: Order,
    reading: Reading = DEFAULT_READING,
) -> Iterator[Batch]:
    """Endless training batches; batch k depends on the sources, the crops, the seed and k alone.

    Each stream goes through its source in a new random order every epoch. Support and query are
    drawn from the contents independently of each other.

    Args:
      content_source: where support and query contents come from.
      style_source: where styles come from.
      styles: S, styles per batch.
      contents: B, contents in the support set and in the query set each.
      shares: (first, count) of the styles and of the contents of each batch that are read; None for
        all. A picture of a batch is the same whoever reads it.
      content_crop, style_crop: how each kind is cut.
      order: seed and first batch.
      reading: threads and prefetching.

    Yields:
      Batches of numpy arrays, float32 in [0, 1].

    Raises:
      UserError: from a source, when the batch that needs the image is reached.
      ValueError: at once, for numbers out of range.
    """
    if min(content_crop.size, style_crop.size, styles, contents) < 1:
        raise ValueError("the size of crops and the counts of styles and contents must be positive")
    if min(order.seed, order.start_step) < 0:
        raise ValueError("seed and start step must be positive or 0")
    of_styles, of_contents = shares or ((0, styles), (0, contents))
    style_crops = crops(
        style_source,
        style_crop,
        count=styles,
        share=of_styles,
        order=order,
        stream=STREAMS.index("styles"),
        reading=reading,
    )
    support, query = (
        crops(
            content_source,
            content_crop,
            count=contents,
            share=of_contents,
            order=order,
            stream=STREAMS.index(name),
            reading=reading,
        )
        for name in ("support", "query")
    )
    return map(Batch, style_crops, support, query)


def crops(
    source: ImageSource,
    crop: Crop,
    *,
    count: int,
    order: Order,
    stream: int = 0,
    views: int = 1,
    share: tuple[int, int] | None = None,
    reading: Reading = DEFAULT_READING,
) -> Iterator[np.ndarray]:
    """One endless stream of batches of random crops.

    Args:
      source: where the images come from.
      crop: how they are cut.
      count: N, images per batch.
      order: seed and first batch.
      stream: streams of one seed with different numbers, 0 to 2, are independent.
      views: V, crops of each image, drawn independently.
      share: (first, count), the images of each batch that are read; None for all.
      reading: threads and prefetching.

    Yields:
      (N * V, H, W, 3) float32 in [0, 1], or less with a share; the crops of one image follow one
      another.
    """
    _, crop_seeds = _stream_seeds(order.seed)
    read_options = grain.ReadOptions(
        num_threads=reading.threads,
        prefetch_buffer_size=reading.prefetch if reading.threads else 0,
    )
    dataset = _shuffled(source, order.seed, stream).random_map(
        _augmentation(crop, views), seed=crop_seeds[stream]
    )
    if share is not None and share != (0, count):
        dataset, count = _share(dataset, count, *share), share[1]
    batched = dataset.batch(count, batch_fn=np.concatenate)
    # Slicing keeps the absolute index, from which order and crops are derived.
    return iter(batched[order.start_step :].to_iter_dataset(read_options))


def rows(
    lengths: Mapping[str, int], *, counts: tuple[int, int], seed: int, step: int
) -> dict[str, list[int]]:
    """Which pictures batch `step` has, as `batches` draws them.

    Args:
      lengths: of the sources, "content" and "style".
      counts: S styles and B contents.
      seed: of the order.
      step: number of the batch, from 0.

    Returns:
      Numbers in their source by stream, see `STREAMS`; S of them, B and B.
    """
    of_styles, of_contents = (lengths["style"], counts[0]), (lengths["content"], counts[1])
    found = {}
    for number, (length, count) in enumerate((of_styles, of_contents, of_contents)):
        order = _shuffled(range(length), seed, number)
        found[STREAMS[number]] = [cast(int, order[step * count + row]) for row in range(count)]
    return found


def _shuffled(source: Any, seed: int, stream: int) -> grain.MapDataset:
    """The elements of a source, each once an epoch."""
    order_seeds, _ = _stream_seeds(seed)
    return (
        grain.MapDataset.source(source)
        .shuffle(seed=order_seeds[stream])
        # not endless: with batches of one Grain rounds that length to one too large for len()
        .repeat(ELEMENTS // len(source))
    )


def _share(dataset: grain.MapDataset, count: int, first: int, share: int) -> grain.MapDataset:
    """The elements from `first` on, `share` of them, of every `count`."""

    def element(number: int) -> np.ndarray:
        batch, row = divmod(number, share)
        return cast(np.ndarray, dataset[batch * count + first + row])

    return grain.MapDataset.range(len(dataset) // count * share).map(element)


_Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _stream_seeds(seed: int) -> tuple[list[int], list[int]]:
    """Seeds for the order and for the crops of the three streams.

    Grain adds the epoch's number to the seed of a shuffle, so neighboring seeds would repeat
    each other's order one epoch later: draw seeds far apart instead.
    """
    words = [int(word) for word in np.random.SeedSequence(seed).generate_state(6)]
    return words[:3], words[3:]


def _augmentation(crop: Crop, views: int) -> _Augment:
    """Image -> (views, size, size, 3) float32 in [0, 1]."""

    def view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cut = resizing.random_resized_crop(
            image, crop.size, rng, min_scale=crop.min_scale, max_scale=crop.max_scale
        )
        return cut[:, ::-1] if crop.flip and rng.random() < 0.5 else cut

    def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return images.as_float(np.stack([view(image, rng) for _ in range(views)]))

    return augment
