"""Picture files in a folder, and the other files that are skipped."""

from __future__ import annotations

import collections
import os
from pathlib import Path
from typing import NamedTuple

from metastyle_jax.data import decoding
from metastyle_jax.errors import UserError
from metastyle_jax.storage.home_folder import exists, is_folder

_NAMED = 4  # files to list by name; more are counted by extension


class Listing(NamedTuple):
    """The files below a folder, sorted; hidden ones are in neither list.

    Attributes:
      images: named like images.
      others: named otherwise.
    """

    images: list[Path]
    others: list[Path]


def list_images(path: str | os.PathLike[str], what: str) -> list[Path]:
    """Lists the files below the folder `path` that are named like images, sorted.

    Linked folders are followed, each real folder once; hidden files and folders are left out.

    Raises:
      UserError: if the folder is missing, is not a folder, is unreadable or has no images;
        `what` names it in the sentence ("content folder").
    """
    return list_folder(path, what).images


def list_folder(
    path: str | os.PathLike[str], what: str, *, without: str | os.PathLike[str] | None = None
) -> Listing:
    """As `list_images`, and also the other files.

    Args:
      path: the folder.
      what: its name in messages.
      without: a folder inside it to leave out: the output folder of the command.

    Raises:
      UserError: see `list_images`.
    """
    root = Path(path)
    _check_folder(root, what)
    listing = Listing([], [])
    seen: set[str] = set()
    if without is not None and os.path.realpath(without) != os.path.realpath(root):
        seen.add(os.path.realpath(without))
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if not name.startswith("."):
                listing[not _is_image_name(name)].append(Path(folder, name))
    if not listing.images:
        raise UserError(
            f"the {what} {root} has no images; put JPEG, PNG, WebP or TIFF files there, or others "
            "of the kinds that Pillow reads"
        )
    return Listing(sorted(listing.images), sorted(listing.others))


def skipped_note(folder: str | os.PathLike[str], others: list[Path]) -> str:
    """One sentence on the files of a folder without an image extension, at least one.

    A few are listed by name; more are counted by extension.
    """
    if len(others) <= _NAMED:
        named = ", ".join(str(path.relative_to(folder)) for path in others)
    else:
        kinds = collections.Counter(path.suffix.lower() or "no ending" for path in others)
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    files = "file that is" if len(others) == 1 else "files that are"
    return f"{folder}: skipped {len(others)} {files} not named like a picture: {named}"


def _check_folder(root: Path, what: str) -> None:
    if not exists(root):
        raise UserError(f"the {what} {root} does not exist; give an existing folder of images")
    if not is_folder(root):
        raise UserError(f"the {what} {root} is not a folder; give a folder of images")
    if not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"the {what} {root} cannot be read; change its permissions")


def _is_image_name(name: str) -> bool:
    return Path(name).suffix[1:].lower() in decoding.extensions()
