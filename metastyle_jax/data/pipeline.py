"""Training batches: styles with two independent sets of contents, a pure function of the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

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


def batches(
    content_source: ImageSource,
    style_source: ImageSource,
    *,
    image_size: int,
    styles: int,
    contents: int,
    seed: int,
    start_step: int = 0,
    content_max_scale: float = 1.3,
    style_max_scale: float = 1.3,
    min_scale: float = 1.0,
    flip_contents: bool = True,
    flip_styles: bool = True,
    threads: int = 4,
    prefetch: int = 4,
) -> Iterator[Batch]:
    """Endless training batches; batch k depends on the sources, the seed and k alone.

    Each stream goes through its source in a new random order every epoch. "support" and "query"
    are drawn from the contents independently of each other.

    Args:
      content_source: where support and query contents come from.
      style_source: where styles come from.
      image_size: H = W of the result.
      styles: S, styles per batch.
      contents: B, contents in the support set and in the query set each.
      seed: a non-negative integer; another seed gives an unrelated order.
      start_step: the first batch is number `start_step` of the sequence that starts at 0, so a
        resumed run continues with the batches an uninterrupted one would have seen.
      content_max_scale: contents are cropped after their short side has been resized to a random
        length of `min_scale` to this many times `image_size`; 1 disables the change of scale.
      style_max_scale: the same for styles.
      min_scale: the lower end of that random length, of contents and styles; 1 or more.
      flip_contents: mirror half of the contents left to right.
      flip_styles: mirror half of the styles left to right.
      threads: threads that decode, per stream; 0 decodes in the calling thread.
      prefetch: batches decoded ahead, per stream.

    Yields:
      Batches of numpy arrays, float32 in [0, 1].

    Raises:
      UserError: from a source, when the batch that needs the image is reached.
      ValueError: at once, for numbers out of range.
    """
    if min(image_size, styles, contents) < 1 or start_step < 0 or seed < 0:
        raise ValueError("image_size, styles and contents must be positive, seed and step not < 0")
    shared = {
        "image_size": image_size,
        "min_scale": min_scale,
        "seed": seed,
        "start_step": start_step,
        "threads": threads,
        "prefetch": prefetch,
    }
    of_contents = {"count": contents, "max_scale": content_max_scale, "flip": flip_contents}
    style_crops = crops(
        style_source,
        stream=STREAMS.index("styles"),
        count=styles,
        max_scale=style_max_scale,
        flip=flip_styles,
        **shared,
    )
    support, query = (
        crops(content_source, stream=STREAMS.index(name), **of_contents, **shared)
        for name in ("support", "query")
    )
    return map(Batch, style_crops, support, query)


def crops(
    source: ImageSource,
    *,
    image_size: int,
    count: int,
    seed: int,
    stream: int = 0,
    start_step: int = 0,
    min_scale: float = 1.0,
    max_scale: float = 1.3,
    flip: bool = True,
    views: int = 1,
    threads: int = 4,
    prefetch: int = 4,
) -> Iterator[np.ndarray]:
    """One endless stream of batches of random crops; arguments as those of `batches`.

    Args:
      source: where the images come from.
      image_size: H = W of the crops.
      count: N, images per batch.
      seed: of the order and of the crops.
      stream: streams of one seed with different numbers, 0 to 2, are independent.
      start_step: number of the first batch.
      min_scale, max_scale: of the random change of scale.
      flip: mirror half of the crops.
      views: V, crops of each image, drawn independently.
      threads: that decode.
      prefetch: batches decoded ahead.

    Yields:
      (N * V, H, W, 3) float32 in [0, 1]; the crops of one image follow one another.
    """
    order_seeds, crop_seeds = _stream_seeds(seed)
    read_options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=prefetch if threads else 0
    )
    dataset = (
        grain.MapDataset.source(source)
        .shuffle(seed=order_seeds[stream])
        # not endless: with batches of one Grain rounds that length to one too large for len()
        .repeat(ELEMENTS // len(source))
        .random_map(
            _augmentation(image_size, (min_scale, max_scale), flip, views), seed=crop_seeds[stream]
        )
        .batch(count, batch_fn=np.concatenate)
    )
    # Slicing keeps the absolute index, from which order and crops are derived.
    return iter(dataset[start_step:].to_iter_dataset(read_options))


_Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _stream_seeds(seed: int) -> tuple[list[int], list[int]]:
    """Seeds for the order and for the crops of the three streams.

    Grain adds the epoch's number to the seed of a shuffle, so neighboring seeds would repeat
    each other's order one epoch later: draw seeds far apart instead.
    """
    words = [int(word) for word in np.random.SeedSequence(seed).generate_state(6)]
    return words[:3], words[3:]


def _augmentation(size: int, scales: tuple[float, float], flip: bool, views: int) -> _Augment:
    """Image -> (views, size, size, 3) float32 in [0, 1]."""

    def crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cut = resizing.random_resized_crop(
            image, size, rng, min_scale=scales[0], max_scale=scales[1]
        )
        return cut[:, ::-1] if flip and rng.random() < 0.5 else cut

    def augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return images.as_float(np.stack([crop(image, rng) for _ in range(views)]))

    return augment
