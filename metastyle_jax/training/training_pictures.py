"""Where the pictures of a training come from, and its batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from metastyle_jax.data import device_cache, pipeline
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.runtime import sharding
from metastyle_jax.runtime.progress import PictureCount
from metastyle_jax.runtime.sharding import Shares
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage.atomic import write_text

_LOG = logging.getLogger(__name__)


def open_sources(config: Settings) -> dict[str, ImageSource]:
    """The sources of contents and styles by kind, "content" and "style".

    Raises:
      UserError: one of them cannot be opened; or there are several styles where one can be learned.
    """
    sources = {kind: source_of(config, kind) for kind in ("content", "style")}
    for kind, source in sources.items():
        _LOG.info(f"{kind}: {len(source)} images from {getattr(config.data, kind)}")
        if isinstance(source, FolderSource) and source.skipped:
            _LOG.warning(source.report())
    _check_one_style(config, sources)
    return sources


def source_of(config: Settings, kind: Literal["content", "style"]) -> ImageSource:
    """The images of `config.data.content` or `config.data.style`.

    Raises:
      UserError: they cannot be opened.
    """
    return open_source(
        getattr(config.data, kind),
        kind,
        image_size=config.data.image_size,
        data_dir=config.data.tfds_dir or None,
    )


def _check_one_style(config: Settings, sources: Mapping[str, ImageSource]) -> None:
    count = len(sources["style"])
    if config.model.adjuster and not config.model.predictor and count > 1:
        raise UserError(
            f"config.data.style={config.data.style!r} has {count} pictures, but an adjuster "
            "without a predictor learns one style: name one picture, or set "
            "config.model.predictor=128"
        )


def crop(config: Settings) -> pipeline.Crop:
    """How contents and styles are cut."""
    return pipeline.Crop(config.data.image_size, config.data.min_scale, config.data.max_scale)


def batches(
    config: Settings,
    sources: dict[str, ImageSource],
    start_step: int,
    seed: int,
    shares: Shares | None = None,
) -> Iterator[Batch]:
    """Batches from step `start_step` on, or a share of them, see `pipeline.batches`."""
    cut = crop(config)
    return pipeline.batches(
        sources["content"],
        sources["style"],
        styles=config.batch.styles,
        contents=config.batch.contents,
        shares=shares,
        content_crop=cut,
        style_crop=cut,
        order=pipeline.Order(seed, start_step),
        reading=pipeline.Reading(config.data.threads),
    )


def cache(
    config: Settings,
    sources: Mapping[str, ImageSource],
    devices: Sequence[sharding.Device],
    step: sharding.Parallel,
) -> device_cache.Caches:
    """All pictures on the devices; each process decodes those of its own devices.

    Raises:
      UserError: they do not fit; or from a source.
    """
    side = device_cache.side_of(crop(config))
    counts = {kind: len(source) for kind, source in sources.items()}
    rows = {kind: sharding.rows_here(count, devices) for kind, count in counts.items()}
    here = sharding.local_devices(devices)
    size = sum(len(part) for part in rows.values()) * 3 * side**2 // len(here)
    _check_room(size, here[0])
    total = sum(len(part) for part in rows.values())
    _LOG.info(f"decoding {total} pictures of {side} px, {size / 1e6:.1f} MB on each device")
    progress = PictureCount(total)
    pixels = {
        kind: device_cache.read(
            source, rows[kind], side, threads=config.data.threads, progress=progress
        )
        for kind, source in sources.items()
    }
    return device_cache.Caches(
        **{
            kind: device_cache.Pictures(step.place_rows(pixels.pop(kind)), counts[kind])
            for kind in sources
        }
    )


def cache_shapes(config: Settings, devices: Sequence[sharding.Device]) -> device_cache.Caches:
    """What `cache` returns as shapes, of all processes; pictures are counted, not read."""
    side, caches = device_cache.side_of(crop(config)), {}
    for kind, source in open_sources(config).items():
        count = math.ceil(len(source) / len(devices)) * len(devices)
        pixels = jax.ShapeDtypeStruct((count, side, side, 3), np.uint8)
        caches[kind] = device_cache.Pictures(pixels, len(source))
    return device_cache.Caches(**caches)


def _check_room(size: int, device: sharding.Device) -> None:
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is not None and size > limit:
        raise UserError(
            f"config.data.cache=device needs {size / 1e9:.1f} GB on each device, which has "
            f"{limit / 1e9:.1f} GB: use more devices, fewer pictures, a smaller "
            "config.data.max_scale, or leave it out"
        )


def list_skipped(workdir: Path, sources: dict[str, ImageSource]) -> None:
    """Write `skipped_images.txt` if pictures were skipped."""
    lines = []
    for source in sources.values():
        if isinstance(source, FolderSource) and source.skipped:
            _LOG.warning(source.report())
            lines += [f"{path}\t{reason}\n" for path, reason in sorted(source.skipped.items())]
    if lines:
        write_text(workdir / "skipped_images.txt", "".join(lines))
