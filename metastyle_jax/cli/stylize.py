"""metastyle stylize STYLE PICTURES --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files
from metastyle_jax.settings import ranges
from metastyle_jax.storage import style_packs
from metastyle_jax.stylization import batch_run, loading


def add_parser(commands: Any) -> None:
    """Add `stylize` to the commands."""
    parser = add_command(commands, "stylize", run)
    parser.add_argument(
        "style",
        help="style.safetensors, params.safetensors, pack:NAME (see metastyle packs), or a "
        "workdir of metastyle train",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="PICTURES",
        help="pictures to stylize: files, folders or patterns ('photos/*.jpg')",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument(
        "--init", help="weights that the style was adapted from; default: those that it names"
    )
    parser.add_argument(
        "--noise",
        type=float,
        help="standard deviation of the input noise (0 to 1); 0 disables it; default: as adapted",
    )
    parser.add_argument(
        "--redo",
        action="store_true",
        help="draw all pictures, also those that --out has from the same file and style",
    )


def run(args: argparse.Namespace) -> None:
    """Stylize all pictures that can be read.

    Raises:
      PartialFailure: some pictures could not be done; the others are written.
      UserError: nothing could be done.
    """
    out = args.out.expanduser()
    is_pack = args.style.startswith(style_packs.PREFIX)
    style = style_packs.resolve(args.style) if is_pack else input_files.one_file(args.style)
    ranges.check_flags(args, {"noise": ranges.FRACTION})
    stylizer = loading.load(args.style if is_pack else style, init=args.init)
    if args.noise is not None:
        stylizer = dataclasses.replace(stylizer, input_noise=args.noise)
    pictures = input_files.find_pictures(args.inputs, without=out)
    for note in pictures.notes:
        print(note, file=sys.stderr)
    outcome = batch_run.run(
        stylizer,
        list(dict.fromkeys(pictures.files)),  # a file that is named twice is drawn once
        out,
        inputs=[style, *([Path(args.init)] if args.init else [])],
        redo=args.redo,
    )
    outcome.check()
