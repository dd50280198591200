"""TensorFlow Datasets as a random-access source of images, without TensorFlow.

Works with data prepared as array_record. A folder setting that begins with "tfds:" names such a
data set: `tfds:NAME[/CONFIG][:VERSION]:SPLIT`, for instance `tfds:coco/2017:train[:80%]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import cast

import numpy as np

from metastyle_jax.data import images
from metastyle_jax.errors import UserError

PREFIX = "tfds:"
_SETTING = re.compile(r"tfds:(?P<name>[^:]+(?::\d+\.\d+\.\d+)?):(?P<split>[^:].*)")


def parse_setting(setting: str) -> tuple[str, str]:
    """Splits "tfds:coco/2017:train" into ("coco/2017", "train").

    Raises:
      UserError: if the setting is not of this form.
    """
    match = _SETTING.fullmatch(setting)
    if match is None:
        raise UserError(
            f"{setting!r} does not name a TFDS data set; write tfds:NAME:SPLIT, "
            "such as tfds:coco/2017:train"
        )
    return match["name"], match["split"]


def tfds_source(
    name: str, split: str, data_dir: str | os.PathLike[str] | None = None
) -> TfdsSource:
    """Opens a prepared data set; nothing is downloaded.

    Args:
      name: as TFDS spells it, `NAME[/CONFIG][:VERSION]`.
      split: such as "train" or "train[:80%]".
      data_dir: where it was prepared; TFDS's own default if None.

    Raises:
      UserError: if the data set is unknown, is not prepared as array_record, has no such split or
        no feature called "image".
    """
    # importing takes seconds, and only TFDS data sets need it
    import tensorflow_datasets as tfds

    try:
        records = tfds.data_source(
            name,
            split=split,
            data_dir=None if data_dir is None else os.fspath(data_dir),
            download=False,
            # TFDS would pass alpha and CMYK through and ignore EXIF rotation: decode here.
            decoders={"image": tfds.decode.SkipDecoding()},
        )
    except Exception as error:
        # TFDS raises many types here; all of them mean a wrong setting
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"cannot open the TFDS data set {name!r}, split {split!r}: {reason[0].rstrip(' .')}; "
            f"prepare it with `tfds build {name} --file_format=array_record`"
        ) from error
    # of one split, hence no dict of them
    return TfdsSource(cast(Sequence[dict], records), f"tfds:{name}:{split}")


class TfdsSource:
    """The images of a TFDS data source opened with `SkipDecoding`."""

    def __init__(self, records: Sequence[dict], name: str) -> None:
        """Wraps `records`, whose items hold the bytes of an image file under "image".

        Raises:
          UserError: if there are no records, or they hold no such bytes.
        """
        self._records = records
        self._name = name
        if len(records) == 0:
            raise UserError(f"{name} has no examples; choose another split")
        if not isinstance(records[0].get("image"), bytes):
            raise UserError(f"{name} has no feature 'image'; choose a data set of images")

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns example `index` as float32 RGB (H, W, 3) in [0, 1].

        Raises:
          UserError: if its image is damaged.
        """
        return images.decode_image(self._records[index]["image"], f"{self._name} #{index}")

    def __repr__(self) -> str:
        return f"TfdsSource({self._name!r})"
