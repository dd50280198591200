"""metastyle packs"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli.parsers import add_command
from metastyle_jax.storage import style_packs


def add_parser(commands: Any) -> None:
    """Add `packs` to the commands."""
    add_command(commands, "packs", run)


def run(args: argparse.Namespace) -> None:
    """Print name, artist, title and year of each pack."""
    del args
    for pack in style_packs.index():
        print(f"{style_packs.PREFIX}{pack.name:24} {pack.artist}: {pack.title} ({pack.year})")
