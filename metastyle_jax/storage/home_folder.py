"""Paths as a user writes them: ~ is the home folder, and a name may be longer than there can be.

`exists`, `is_file` and `is_folder` follow links. They say no where pathlib would raise an error:
for names too long, and in folders that may not be read.
"""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` or `~USER` in front replaced by that home folder.

    A name that no user has, as in `~draft.safetensors`, stays as it is, as in a shell.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises for unknown users)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file or a folder."""
    return os.path.exists(path)  # noqa: PTH110 (see above)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file."""
    return os.path.isfile(path)  # noqa: PTH113 (see above)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether there is a folder."""
    return os.path.isdir(path)  # noqa: PTH112 (see above)
