"""Image files of a list or a folder as a random-access source for Grain."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metastyle_jax.data import decoding, images
from metastyle_jax.errors import UserError
from metastyle_jax.storage.home_folder import expanded, is_file

_NAMED_IN_REPORT = 5


class FileSource:
    """Image files, decoded on access, with broken files replaced.

    Files without the header of an image are dropped at construction. A file that cannot be decoded
    is replaced by the next good one in the list (cyclic), so that element i depends on the files
    only, not on the order of access. Threads may read at the same time. `skipped` maps each
    unusable path to the reason.
    """

    def __init__(self, files: Sequence[Path], where: str, *, short_side: int | None = None) -> None:
        """Reads the header of each image.

        Args:
          files: their order is that of the elements.
          where: name of the list in messages, such as "the content folder photos".
          short_side: pixels per side that are needed; larger JPEGs are decoded at reduced size.

        Raises:
          UserError: if none is usable.
        """
        self.skipped: dict[Path, str] = {}
        self._where = where
        self._short_side = short_side
        self._listed = len(files)
        with decoding.quiet_about_large_images():
            self._paths = [path for path in files if self._has_sound_header(path)]
        if not self._paths:
            raise self._nothing_usable()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns image `index` as RGB (H, W, 3), uint8, or float32 in [0, 1] for deep files.

        Raises:
          UserError: if no image can be decoded.
          IndexError: if `index` is out of range.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        for offset in range(len(self)):
            path = self._paths[(index + offset) % len(self)]
            if path in self.skipped:
                continue
            try:
                return decoding.decode_native(path, str(path), short_side=self._short_side)
            except UserError as error:
                self._skip(path, error)
        raise self._nothing_usable()

    def name(self, index: int) -> str:
        """The path of the file that image `index` is of, unless it could not be decoded."""
        return str(self._paths[index])

    def __repr__(self) -> str:
        # Grain puts this into its own messages; it must not change as files are skipped.
        return f"{type(self).__name__}({self._where!r})"

    def _has_sound_header(self, path: Path) -> bool:
        try:
            decoding.check_header(path)
        except (UserError, OSError) as error:
            self._skip(path, error)
            return False
        return True

    def _skip(self, path: Path, error: Exception) -> None:
        # the reason, without the file name before it and the advice after it
        self.skipped[path] = str(error).removeprefix(f"{path}: ").split(";")[0]

    def _nothing_usable(self) -> UserError:
        return UserError(
            f"none of the {self._listed} images in {self._where} can be read; "
            "put intact JPEG or PNG files there"
        )


class FolderSource(FileSource):
    """The images below a folder, sorted, as a `FileSource`."""

    def __init__(
        self, folder: str | os.PathLike[str], what: str, *, short_side: int | None = None
    ) -> None:
        """Lists the folder and reads the header of each image.

        Args:
          folder: searched recursively; or one picture file.
          what: its name in messages, such as "content folder".
          short_side: see `FileSource`.

        Raises:
          UserError: if the folder is missing or has no usable image.
        """
        path = expanded(folder)
        self._what = what
        self._folder = path.parent if is_file(path) else path
        listed = [path] if is_file(path) else images.list_images(path, what)
        super().__init__(listed, f"the {what} {path}", short_side=short_side)

    def __repr__(self) -> str:
        # Grain puts this into its own messages; it must not change as files are skipped.
        return f"FolderSource({str(self._folder)!r}, {self._what!r})"

    def fingerprint(self) -> str:
        """Number of usable files and a digest of their relative paths and sizes.

        It does not depend on the path of the folder; for example "120 files 9f86d081884c".
        """
        state = hashlib.sha256()
        for path in self._paths:
            name = path.relative_to(self._folder).as_posix()
            state.update(f"{name}\0{path.stat().st_size}\n".encode(errors="surrogateescape"))
        return f"{len(self._paths)} files {state.hexdigest()[:12]}"

    def report(self) -> str:
        """One sentence: how many files have been skipped so far, and the first few of them."""
        if not self.skipped:
            return f"all {self._listed} files in {self._folder} are usable so far"
        skipped = sorted(self.skipped.items())
        named = [
            f"{path.relative_to(self._folder)} ({reason})"
            for path, reason in skipped[:_NAMED_IN_REPORT]
        ]
        more = len(skipped) - len(named)
        tail = f" and {more} more" if more > 0 else ""
        return (
            f"skipped {len(skipped)} of {self._listed} files in {self._folder}: "
            f"{', '.join(named)}{tail}"
        )
