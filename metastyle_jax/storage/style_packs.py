"""Style packs: styles of public-domain artworks that ship with the package."""

from __future__ import annotations

import csv
import importlib.resources
from pathlib import Path
from typing import NamedTuple

from metastyle_jax.errors import UserError
from metastyle_jax.storage import home_folder

PREFIX = "pack:"
INDEX = "packs.csv"


class Pack(NamedTuple):
    """One artwork.

    Attributes:
      name: of the pack, as in "pack:NAME".
      title, artist, year: of the artwork.
      image: file of the artwork, relative to the folder of artworks that packs are made from.
    """

    name: str
    title: str
    artist: str
    year: str
    image: str

    @property
    def style_file(self) -> Path:
        """The adapted style."""
        return folder() / f"{self.name}.safetensors"

    @property
    def thumbnail(self) -> Path:
        """A sample content in this style."""
        return folder() / f"{self.name}.jpg"


def folder() -> Path:
    """Folder of the packs."""
    # the package is installed as files (pyproject: no zip), so this is a real path
    return Path(str(importlib.resources.files("metastyle_jax") / "assets" / "packs"))


def index() -> list[Pack]:
    """All packs in the order of the index."""
    with (folder() / INDEX).open(encoding="utf-8", newline="") as file:
        return [Pack(**row) for row in csv.DictReader(file)]


def find(name: str) -> Pack:
    """The pack of that name.

    Raises:
      UserError: there is no such pack.
    """
    packs = {pack.name: pack for pack in index()}
    if name not in packs:
        raise UserError(f"there is no style pack {name!r}: use one of {', '.join(packs)}")
    return packs[name]


def resolve(style: str) -> Path:
    """The file that `style` names: "pack:NAME" or a path, also one from ~.

    Raises:
      UserError: there is no such pack.
    """
    if not style.startswith(PREFIX):
        return home_folder.expanded(style)
    return find(style.removeprefix(PREFIX)).style_file
