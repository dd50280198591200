"""The pictures that a command line names: files, folders, patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from metastyle_jax.data.listing import list_folder, skipped_note
from metastyle_jax.errors import UserError

# pathlib makes one slash of two
_URL = re.compile(r"(https?|ftps?|s3|gs):/+", re.IGNORECASE)


class InputFiles(NamedTuple):
    """What was given.

    Attributes:
      files: in the order given; those of a folder or of a pattern sorted. They need not exist.
      notes: a sentence on each folder some of whose files were skipped.
    """

    files: list[Path]
    notes: list[str]


def find_pictures(
    arguments: Iterable[str | os.PathLike[str]],
    what: str = "input folder",
    *,
    without: str | os.PathLike[str] | None = None,
) -> InputFiles:
    """The pictures that the arguments of a command name.

    Args:
      arguments: files, folders (searched recursively) and patterns such as `photos/*.jpg` or
        `photos/**/*.jpg`, which a shell has left alone because they were quoted. What exists is no
        pattern, whatever its name.
      what: the name of a folder in messages.
      without: a folder that is left out where another one is searched: where the command writes, so
        that a second run does not take the results of the first one for pictures to work on.

    Raises:
      UserError: a pattern that no file matches, a folder without pictures, an address on the web.
    """
    found = InputFiles([], [])
    for argument in arguments:
        for path in _expanded(argument):
            if not os.path.isdir(path):  # noqa: PTH112 (pathlib's raises for names too long)
                found.files.append(path)
                continue
            listing = list_folder(path, what, without=without)
            found.files.extend(listing.images)
            if listing.others:
                found.notes.append(skipped_note(path, listing.others))
    return found


def one_file(argument: str | os.PathLike[str]) -> Path:
    """The file that an argument names, where only one is possible; it need not exist.

    Raises:
      UserError: an address on the web, or a pattern that not exactly one file matches.
    """
    paths = _expanded(argument)
    if len(paths) > 1:
        raise UserError(
            f"{Path(argument)}: {len(paths)} files match this pattern; give one of them"
        )
    return paths[0]


def _expanded(argument: str | os.PathLike[str]) -> list[Path]:
    text = os.fspath(argument)
    if _URL.match(text):
        raise UserError(f"{text} is an address on the web: download it first and give the file")
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (pathlib's raises for unknown users)
    if os.path.lexists(path) or not glob.has_magic(text):
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute ones too)
    if not matches:
        raise UserError(f"{text}: no file matches this pattern; check it")
    return [Path(match) for match in matches]
