"""Opens the source of images that a setting names."""

from __future__ import annotations

import os
from typing import Literal

from metastyle_jax.data import tfds_source
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.data.procedural.drawn_source import ProceduralSource
from metastyle_jax.errors import UserError


def open_source(
    setting: str,
    kind: Literal["content", "style"],
    *,
    image_size: int,
    data_dir: str | os.PathLike[str] | None = None,
) -> ImageSource:
    """Opens a source of images.

    Args:
      setting: a folder; or `tfds:NAME:SPLIT`, a prepared TFDS data set; or `procedural:COUNT`,
        pictures drawn by this package.
      kind: of pictures, for messages and for procedural pictures.
      image_size: side of the crops to be taken. Sources may decode large images at reduced size,
        but never below twice this.
      data_dir: folder of TFDS data sets.

    Raises:
      UserError: if the images cannot be opened.
    """
    if setting.startswith(tfds_source.PREFIX):
        return tfds_source.tfds_source(*tfds_source.parse_setting(setting), data_dir)
    if setting.startswith("procedural:"):
        count = setting.removeprefix("procedural:")
        if not count.isdecimal() or int(count) < 1:
            raise UserError(f"{setting!r}: give a number of pictures, such as procedural:64")
        return ProceduralSource(kind, int(count), round(1.25 * image_size))
    return FolderSource(setting, f"{kind} folder", short_side=2 * image_size)
