"""metastyle stylize STYLE... PICTURES... --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from metastyle_jax.cli import drawing_flags, style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files, picture_writer
from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.stylization import batch_run

_RANGES = {"quality": ranges.Range(1, 100)}


def add_parser(commands: Any) -> None:
    """Add `stylize` to the commands."""
    parser = add_command(commands, "stylize", run)
    parser.add_argument("style", metavar="STYLE", help=style_arguments.HELP)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="PICTURES",
        help="pictures to stylize: files, folders or patterns ('photos/*.jpg'); further styles "
        "come before them",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    drawing_flags.add(parser)
    parser.add_argument(
        "--mask",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="gray pictures, white where a style is: one for each style, or one less (the first "
        "style is then everywhere else); with one style, black keeps the picture",
    )
    parser.add_argument(
        "--format",
        choices=picture_writer.FORMATS,
        help="of the pictures that are written; default: that of each picture, or png",
    )
    parser.add_argument(
        "--quality", type=int, default=picture_writer.QUALITY, help="of jpg and webp, 1 to 100"
    )
    parser.add_argument(
        "--redo",
        action="store_true",
        help="draw all pictures, also those that --out has from the same file and style",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object at the end (written, skipped, failures), progress to stderr",
    )


def run(args: argparse.Namespace) -> None:
    """Stylize all pictures that can be read.

    Raises:
      PartialFailure: some pictures could not be done; the others are written.
      UserError: nothing could be done.
    """
    out = args.out.expanduser()
    styles, inputs = style_arguments.split([args.style, *args.inputs])
    if not inputs:
        raise UserError(
            "name the pictures to stylize after the style: metastyle stylize pack:great_wave "
            "photo.jpg --out=out"
        )
    ranges.check_flags(args, _RANGES)
    files = [each.file for each in styles]
    drawing = _drawing(args, styles)
    pictures = input_files.find_pictures(inputs, without=out)
    for note in pictures.notes:
        print(note, file=sys.stderr)
    outcome = batch_run.run(
        drawing,
        list(dict.fromkeys(pictures.files)),  # a file that is named twice is drawn once
        out,
        inputs=[*files, *args.mask, *([Path(args.init)] if args.init else [])],
        redo=args.redo,
        **({"say": _to_stderr} if args.json else {}),
    )
    if args.json:
        lists = {
            name: [str(each) for each in values]
            for name, values in dataclasses.asdict(outcome).items()
        }
        print(json.dumps(lists))
    outcome.check()


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _drawing(
    args: argparse.Namespace, styles: list[style_arguments.StyleArgument]
) -> batch_run.Drawing:
    options, stylizers = drawing_flags.options(args), drawing_flags.load(args, styles)
    if args.mask:
        artist = style_arguments.regions(styles, stylizers, args.mask)
    else:
        artist = style_arguments.blended(styles, stylizers)
    return batch_run.drawing_of(artist, options, args.format or "", args.quality)
