"""A folder of pictures as a TFDS data set in array_record files, without TensorFlow.

A few large files in the place of many small ones: what storage of a cluster reads fast.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from metastyle_jax.data import decoding, images, resizing
from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import write_error
from metastyle_jax.storage.home_folder import exists

VERSION = "1.0.0"
SPLIT = "train"
QUALITY = 95  # of JPEG

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_AT_ONCE = 64  # pictures in memory
_LOG = logging.getLogger(__name__)


def write_records(
    folder: str | os.PathLike[str],
    name: str,
    data_dir: str | os.PathLike[str],
    *,
    short_side: int,
    threads: int = 1,
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> int:
    """Write the data set `tfds:NAME:train`, complete or not at all.

    Each picture becomes an sRGB JPEG, shrunk if its short side is longer than `short_side`.
    Pictures that cannot be read are left out with a warning. TFDS shuffles them; the order is a
    function of their number alone.

    Args:
      folder: searched recursively.
      name: of the data set, lower case letters, digits and underscores.
      data_dir: folder of data sets, `config.data.tfds_dir` of a training.
      short_side: pixels.
      threads: that decode.
      progress: (number of files) -> what is called after each.

    Returns:
      N, the number of pictures written.

    Raises:
      UserError: the folder has no picture that can be read, the name cannot be used or is taken, or
        `data_dir` cannot be written.
    """
    # importing takes seconds
    import tensorflow_datasets as tfds

    if not _NAME.fullmatch(name):
        raise UserError(f"--name={name}: use lower case letters, digits and _, as wikiart_512")
    files = images.list_images(Path(folder), "folder")
    data_dir = Path(data_dir)
    if exists(target := data_dir / name / VERSION):
        raise UserError(f"{target} is there already: give another --name or --out")
    written = _Pictures(files, short_side, threads, progress(len(files)))
    tfds.disable_progress_bar()
    try:
        builder = _builder(tfds, name, written)(data_dir=os.fspath(data_dir))
        with (
            contextlib.redirect_stdout(io.StringIO()),  # TFDS prints boxes
            tempfile.TemporaryDirectory() as downloads,  # none, but it makes the folder
        ):
            builder.download_and_prepare(download_dir=downloads)
    except OSError as error:
        raise write_error(data_dir, error) from error
    except AssertionError as error:  # of TFDS, if there is no example
        if written.count:
            raise
        raise UserError(
            f"none of the {len(files)} pictures in {folder} can be read: "
            "put intact JPEG or PNG files there"
        ) from error
    return written.count


class _Pictures:
    """The pictures of files as examples, in order; `count` of them so far."""

    def __init__(
        self, files: Sequence[Path], short_side: int, threads: int, progress: Callable[[], None]
    ) -> None:
        self._files, self._short_side = files, short_side
        self._threads, self._progress = threads, progress
        self.count = 0

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        files = iter(self._files)
        with ThreadPoolExecutor(max(1, self._threads)) as pool:
            while some := list(itertools.islice(files, _AT_ONCE)):
                for encoded in pool.map(self._encode, some):
                    self._progress()
                    if encoded is not None:
                        yield self.count, {"image": io.BytesIO(encoded)}
                        self.count += 1

    def _encode(self, path: Path) -> bytes | None:
        try:
            image = decoding.decode_native(path, str(path), short_side=self._short_side)
        except UserError as error:
            _LOG.warning(f"left out: {error}")
            return None
        if min(image.shape[:2]) > self._short_side:
            image = resizing.resize_short_side(image, self._short_side)
        file = io.BytesIO()
        Image.fromarray(images.as_uint8(image)).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()


def _builder(tfds: Any, name: str, pictures: _Pictures) -> Any:
    """A builder class; TFDS's own for such cases imports TensorFlow."""

    # by TFDS's keyword it stays out of the list of known data sets
    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        VERSION = tfds.core.Version(VERSION)
        pkg_dir_path = Path(__file__).parent  # TFDS looks for descriptions there
        url_infos = None  # nothing is downloaded; TFDS would look for them by a missing package

        def _info(self) -> Any:
            image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
            return tfds.core.DatasetInfo(
                builder=self,
                description="Pictures of a folder, written by metastyle_jax.",
                features=tfds.features.FeaturesDict({"image": image}),
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            return {SPLIT: self._generate_examples()}

        def _generate_examples(self) -> Any:
            yield from pictures

    Builder.name = name
    return lambda **keywords: Builder(file_format="array_record", **keywords)
