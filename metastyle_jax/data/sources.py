"""From the text of a setting to a source of images."""

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
    """Opens what a folder setting names.

    Args:
      setting: a folder; or `tfds:NAME:SPLIT`, a prepared TFDS data set; or `procedural:COUNT`,
        pictures drawn by this package.
      kind: which of the two it is, for messages and for what is drawn.
      image_size: side of the crops to be taken. Sources may decode large images at reduced size,
        but never below twice this.
      data_dir: where TFDS data sets are.

    Raises:
      UserError: if there are no such images.
    """
    if setting.startswith(tfds_source.PREFIX):
        return tfds_source.tfds_source(*tfds_source.parse_setting(setting), data_dir)
    if setting.startswith("procedural:"):
        count = setting.removeprefix("procedural:")
        if not count.isdecimal() or int(count) < 1:
            raise UserError(f"{setting!r}: give a number of pictures, such as procedural:64")
        return ProceduralSource(kind, int(count), round(1.25 * image_size))
    return FolderSource(setting, f"{kind} folder", short_side=2 * image_size)
