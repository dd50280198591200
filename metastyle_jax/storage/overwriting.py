"""Checks that no command overwrites its inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from metastyle_jax.errors import UserError
from metastyle_jax.storage.home_folder import expanded

_Key = str | tuple[int, int]


def refuse_overwriting(
    outputs: Iterable[str | os.PathLike[str]],
    inputs: Iterable[str | os.PathLike[str]],
    flag: str = "--out",
) -> None:
    """Refuse outputs that are also inputs; call it before writing.

    Links and ~ are followed, and files are compared by identity, so that two names of one file are
    recognized, also on case-insensitive file systems. The files need not exist.

    Args:
      outputs: files that the command will write.
      inputs: files that it reads: pictures, styles, initializations.
      flag: that sets where outputs are written, for the message.

    Raises:
      UserError: names the first output that is an input.
    """
    read = {key: path for path in inputs for key in _keys(path)}
    for output in outputs:
        for key in _keys(output):
            if key in read:
                raise UserError(
                    f"{Path(output)} would be written over the input {Path(read[key])}: choose "
                    f"another {flag}"
                )


def refuse_inside(folder: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse inputs inside the output folder of a command.

    For commands whose output files are not known in advance.

    Args:
      folder: output folder.
      inputs: files that it reads.

    Raises:
      UserError: names the first input in it.
    """
    root = Path(os.path.realpath(expanded(folder)))
    for path in inputs:
        if root in Path(os.path.realpath(expanded(path))).parents:
            raise UserError(
                f"{Path(path)} lies in {Path(folder)}, where the command writes: choose another "
                "--out"
            )


def _keys(path: str | os.PathLike[str]) -> list[_Key]:
    """Identities of a file: its real path and, if it exists, its device and inode numbers."""
    path = expanded(path)
    keys: list[_Key] = [os.path.realpath(path)]
    try:
        status = os.stat(path)  # noqa: PTH116 (pathlib's has the same errors)
    except (OSError, ValueError):  # missing, or not a valid name
        return keys
    # file systems without inode numbers return 0
    return [*keys, (status.st_dev, status.st_ino)] if status.st_ino else keys
