"""Pictures spread over a folder, and squares of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metastyle_jax.data.images import list_images, read_image
from metastyle_jax.data.resizing import center_crop_resized


def spread(files: Sequence[Path], count: int) -> Sequence[Path]:
    """`count` files at even distances from the first one on; all where there are fewer.

    `evaluation_inputs.squares` ends at the last file instead. Results on disk go by the names that
    this choice gives.
    """
    return files[:: max(1, len(files) // count)][:count]


def squares(folder: Path, what: str, count: int, size: int) -> np.ndarray:
    """(count, size, size, 3): center crops of pictures spread over a folder.

    Args:
      folder: searched recursively.
      what: its name in messages.
      count: largest number of pictures.
      size: side in pixels.

    Raises:
      UserError: the folder has no pictures, or one cannot be read.
    """
    files = spread(list_images(folder, what), count)
    return np.stack([center_crop_resized(read_image(file), size) for file in files])
