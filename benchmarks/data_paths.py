"""Pictures per second that each way of getting training batches delivers, without a training.

    python benchmarks/data_paths.py --content=PHOTOGRAPHS --style=ARTWORKS

A batch is that of a training: S styles, and B contents twice, cut to squares. Threads are those of
each of its three streams.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import default
from metastyle_jax.data import device_cache
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.settings import configuration
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import training_pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", default="procedural:32")
    parser.add_argument("--style", default="procedural:32")
    parser.add_argument("--size", type=int, default=256, help="of the crops, pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--batches", type=int, default=20, help="that are timed")
    args = parser.parse_args()
    config = configuration.changed(
        default.get_config(),
        {"data.content": args.content, "data.style": args.style, "data.image_size": args.size},
    )
    sources = training_pictures.open_sources(config)
    device = jax.devices()[0].device_kind
    print(f"{platform.node()}, {os.cpu_count()} cores, {device}, jax {jax.__version__}\n")
    print("| way | pictures/s |\n|---|---|")
    for threads in args.threads:
        threaded = configuration.changed(config, {"data.threads": threads})
        batches = training_pictures.batches(threaded, sources, 0, 0)
        rate = pictures_per_second(lambda batches=batches: next(batches), args.batches)
        print(f"| read for each batch, {threads} threads | {rate:.1f} |", flush=True)
    draw, seconds = cached(config, sources)
    rate = pictures_per_second(draw, args.batches)
    print(f"| `data.cache=device`, on {device}, after {seconds:.0f} s of reading | {rate:.1f} |")


def cached(config: Settings, sources: dict[str, ImageSource]) -> tuple[Callable[[], Any], float]:
    """(a function that draws the next batch from device memory, seconds to fill this)."""
    begin = time.perf_counter()
    crop = training_pictures.crop(config)
    side, kept = device_cache.side_of(crop), {}
    for kind, source in sources.items():
        pixels = device_cache.read(source, range(len(source)), side, threads=config.data.threads)
        kept[kind] = device_cache.Pictures(jnp.asarray(pixels), len(source))
    caches = device_cache.Caches(**kept)
    seconds = time.perf_counter() - begin
    counts = (config.batch.styles, config.batch.contents)
    draw = jax.jit(functools.partial(device_cache.draw, counts=counts, crop=crop, seed=0))
    steps: Iterator[int] = itertools.count()
    return lambda: draw(caches, np.int32(next(steps))), seconds


def pictures_per_second(make: Callable[[], Any], batches: int) -> float:
    """Of `batches` batches after two first ones, which fill buffers and compile."""
    pictures = 0
    for number in range(batches + 2):
        if number == 2:
            begin, pictures = time.perf_counter(), 0
        batch = jax.block_until_ready(make())
        pictures += sum(map(len, vars(batch).values()))
    return pictures / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
