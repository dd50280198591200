"""Input pictures of a command: files, folders and patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from metastyle_jax.data.listing import list_folder, skipped_note
from metastyle_jax.errors import UserError
from metastyle_jax.storage.home_folder import expanded, is_folder

# pathlib makes one slash of two
_URL = re.compile(r"(https?|ftps?|s3|gs):/+", re.IGNORECASE)


class InputFiles(NamedTuple):
    """Input pictures of a command.

    Attributes:
      files: in the order of the arguments; sorted within a folder or pattern. They need not exist.
      notes: one sentence for each folder with skipped files.
    """

    files: list[Path]
    notes: list[str]


def find_pictures(
    arguments: Iterable[str | os.PathLike[str]],
    what: str = "input folder",
    *,
    without: str | os.PathLike[str] | None = None,
) -> InputFiles:
    """List the pictures that the arguments of a command name.

    Args:
      arguments: files, folders (searched recursively) and patterns such as `photos/*.jpg` or
        `photos/**/*.jpg`, quoted so that the shell does not expand them. A path that exists is
        not a pattern.
      what: name of a folder in messages.
      without: a folder to leave out of the search: the output folder, so that a second run does not
        read the results of the first one. One that an argument names is searched all the same.

    Raises:
      UserError: no file matches a pattern, a folder has no pictures, or an argument is a URL.
    """
    pictures = InputFiles([], [])
    for argument in arguments:
        for path in _outside(without, argument, _expanded(argument)):
            if not is_folder(path):
                pictures.files.append(path)
                continue
            listing = list_folder(path, what, without=without)
            pictures.files.extend(listing.images)
            if listing.others:
                pictures.notes.append(skipped_note(path, listing.others))
    return pictures


def one_file(argument: str | os.PathLike[str]) -> Path:
    """The only file that an argument names; it need not exist.

    Raises:
      UserError: the argument is a URL, or a pattern that no file or several files match.
    """
    paths = _expanded(argument)
    if len(paths) > 1:
        raise UserError(
            f"{Path(argument)}: {len(paths)} files match this pattern; give one of them"
        )
    return paths[0]


def _outside(
    without: str | os.PathLike[str] | None, argument: str | os.PathLike[str], paths: list[Path]
) -> list[Path]:
    """What a pattern matches outside the folder `without`; all of it where the pattern names it."""
    own = _named_folder(argument)
    if without is None or own is None or _lies_in(without, own):
        return paths
    left = [path for path in paths if not _lies_in(without, _folder_of(path))]
    if not left:
        raise UserError(
            f"{Path(argument)}: all files that match this pattern lie in {without}, where the "
            "results go; check it"
        )
    return left


def _named_folder(argument: str | os.PathLike[str]) -> Path | None:
    """The folder in front of the first wildcard of a pattern; None for what is no pattern."""
    path = expanded(argument)
    if os.path.lexists(path):
        return None
    own = path
    while glob.has_magic(str(own)):
        own = own.parent
    return None if own == path else own


def _folder_of(path: Path) -> Path:
    return path if is_folder(path) else path.parent


def _lies_in(folder: str | os.PathLike[str], path: Path) -> bool:
    root, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    return root == real or root in real.parents


def _expanded(argument: str | os.PathLike[str]) -> list[Path]:
    text = os.fspath(argument)
    if _URL.match(text):
        raise UserError(f"{text} is an address on the web: download it first and give the file")
    path = expanded(text)
    if os.path.lexists(path) or not glob.has_magic(text):
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute ones too)
    if not matches:
        raise UserError(f"{text}: no file matches this pattern; check it")
    return [Path(match) for match in matches]
