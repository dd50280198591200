"""Where the pictures of a training come from, and its batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from metastyle_jax.data import pipeline
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.runtime.sharding import Shares
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage.atomic import atomic_path

_LOG = logging.getLogger(__name__)


def open_sources(config: Settings) -> dict[str, ImageSource]:
    """The sources of contents and styles by kind, "content" and "style".

    Raises:
      UserError: one of them cannot be opened; or there are several styles where one can be learned.
    """
    sources = {
        kind: open_source(
            getattr(config.data, kind),
            kind,
            image_size=config.data.image_size,
            data_dir=config.data.tfds_dir or None,
        )
        for kind in ("content", "style")
    }
    for kind, source in sources.items():
        _LOG.info(f"{kind}: {len(source)} images from {getattr(config.data, kind)}")
        if isinstance(source, FolderSource) and source.skipped:
            _LOG.warning(source.report())
    _check_one_style(config, sources)
    return sources


def _check_one_style(config: Settings, sources: Mapping[str, ImageSource]) -> None:
    count = len(sources["style"])
    if config.model.adjuster and not config.model.predictor and count > 1:
        raise UserError(
            f"config.data.style={config.data.style!r} has {count} pictures, but an adjuster "
            "without a predictor learns one style: name one picture, or set "
            "config.model.predictor=128"
        )


def batches(
    config: Settings,
    sources: dict[str, ImageSource],
    start_step: int,
    seed: int,
    shares: Shares | None = None,
) -> Iterator[Batch]:
    """Batches from step `start_step` on, or a share of them, see `pipeline.batches`."""
    crop = pipeline.Crop(config.data.image_size, config.data.min_scale, config.data.max_scale)
    return pipeline.batches(
        sources["content"],
        sources["style"],
        styles=config.batch.styles,
        contents=config.batch.contents,
        shares=shares,
        content_crop=crop,
        style_crop=crop,
        order=pipeline.Order(seed, start_step),
        reading=pipeline.Reading(config.data.threads),
    )


def list_skipped(workdir: Path, sources: dict[str, ImageSource]) -> None:
    """Write `skipped_images.txt` if pictures were skipped."""
    lines = []
    for source in sources.values():
        if isinstance(source, FolderSource) and source.skipped:
            _LOG.warning(source.report())
            lines += [f"{path}\t{reason}\n" for path, reason in sorted(source.skipped.items())]
    if lines:
        with atomic_path(workdir / "skipped_images.txt") as temporary:
            Path(temporary).write_text("".join(lines), encoding="utf-8")
