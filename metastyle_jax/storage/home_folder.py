"""Paths as a user writes them: ~ is the home folder."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` or `~USER` in front replaced by that home folder.

    A name that no user has, as in `~draft.safetensors`, stays as it is, as in a shell.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises for unknown users)
