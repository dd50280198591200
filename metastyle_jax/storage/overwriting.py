"""No command writes over what it was given to read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from metastyle_jax.errors import UserError

_Key = str | tuple[int, int]


def refuse_overwriting(
    outputs: Iterable[str | os.PathLike[str]],
    inputs: Iterable[str | os.PathLike[str]],
    flag: str = "--out",
) -> None:
    """Refuse outputs that are inputs, under whatever name; to be called before anything is written.

    Links are followed, and two names of one file are the same file, so that a case-insensitive
    file system is no way round it. Neither the outputs nor the inputs need to exist.

    Args:
      outputs: files that the command is going to write.
      inputs: files that it reads: pictures, styles, initialisations.
      flag: what decides where the outputs go, for the message.

    Raises:
      UserError: naming the first output that is an input.
    """
    read = {key: path for path in inputs for key in _keys(path)}
    for output in outputs:
        for key in _keys(output):
            if key in read:
                raise UserError(
                    f"{Path(output)} would be written over the input {Path(read[key])}: choose "
                    f"another {flag}"
                )


def refuse_inside(
    folder: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]], flag: str = "--out"
) -> None:
    """Refuse inputs that lie in a folder that belongs to what a command writes.

    For commands that write too many files to name them all beforehand.

    Args:
      folder: where the command writes.
      inputs: files that it reads.
      flag: what names the folder, for the message.

    Raises:
      UserError: naming the first input in it.
    """
    root = Path(os.path.realpath(folder))
    for path in inputs:
        if root in Path(os.path.realpath(path)).parents:
            raise UserError(
                f"{Path(path)} lies in {Path(folder)}, where the command writes: choose another "
                f"{flag}"
            )


def _keys(path: str | os.PathLike[str]) -> list[_Key]:
    """What a file is known by: its real path and, if it exists, its number on its device."""
    keys: list[_Key] = [os.path.realpath(path)]
    try:
        found = os.stat(path)  # noqa: PTH116 (pathlib's has the same errors)
    except (OSError, ValueError):  # not there, or a name that no file can have
        return keys
    # file systems without such numbers say 0
    return [*keys, (found.st_dev, found.st_ino)] if found.st_ino else keys
