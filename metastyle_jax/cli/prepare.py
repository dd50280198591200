"""metastyle prepare FOLDER --name=NAME --out=DIR"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import record_writer
from metastyle_jax.runtime.progress import PictureCount
from metastyle_jax.settings.ranges import Range
from metastyle_jax.storage import home_folder


def add_parser(commands: Any) -> None:
    """Add `prepare` to the commands."""
    parser = add_command(commands, "prepare", run)
    parser.add_argument(
        "folder", type=home_folder.expanded, metavar="FOLDER", help="searched recursively"
    )
    parser.add_argument("--name", required=True, help="of the data set, as wikiart_512")
    parser.add_argument(
        "--out", type=home_folder.expanded, required=True, help="folder of data sets"
    )
    parser.add_argument(
        "--short-side", type=int, default=512, help="larger pictures are shrunk to it, pixels"
    )
    parser.add_argument("--threads", type=int, default=4, help="that decode")


def run(args: argparse.Namespace) -> None:
    """Write the data set and say how training reads it.

    Raises:
      UserError: a folder or a flag cannot be used.
    """
    Range(16, 16_384).check("--short-side", args.short_side)
    Range(1, 256).check("--threads", args.threads)
    count = record_writer.write_records(
        args.folder,
        args.name,
        args.out,
        short_side=args.short_side,
        threads=args.threads,
        progress=PictureCount,
    )
    setting = f"tfds:{args.name}:{record_writer.SPLIT}"
    print(
        f"wrote {count} pictures; for training: --config.data.tfds_dir={args.out} and "
        f"--config.data.style={setting} or --config.data.content={setting}"
    )
