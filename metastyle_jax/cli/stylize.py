"""metastyle stylize STYLE... PICTURES... --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from metastyle_jax.cli import style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files, picture_writer
from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.stylization import batch_run
from metastyle_jax.stylization.options import COLORS, STROKE_SIZES, STRONGEST, Options

_RANGES = {
    "noise": ranges.FRACTION,
    "strength": ranges.Range(0, STRONGEST),
    "stroke_size": ranges.Range(*STROKE_SIZES),
    "size": ranges.Range(16, 65535),
    "quality": ranges.Range(1, 100),
}


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
    parser.add_argument(
        "--init", help="weights that the style was adapted from; default: those that it names"
    )
    _add_options(parser)
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


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help=f"0 is the picture itself, 1 the style, up to {STRONGEST:g} more than the style",
    )
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
        "--color",
        choices=("style", "keep", *COLORS[1:]),
        default="style",
        help="style: colors of the style. keep or luminance: colors of the picture, light and dark "
        "of the drawing. covariance: the drawing, its colors moved to the picture's",
    )
    parser.add_argument(
        "--stroke-size",
        type=float,
        default=1.0,
        help="strokes are so many times as large: the network sees the picture smaller",
    )
    parser.add_argument(
        "--size", type=int, help="short side of the drawing, pixels; default: that of each picture"
    )
    parser.add_argument(
        "--noise",
        type=float,
        help="standard deviation of the input noise (0 to 1); 0 disables it; default: as adapted",
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
    stylizers = style_arguments.load_all(styles, args.init)
    if args.noise is not None:
        stylizers = [dataclasses.replace(each, input_noise=args.noise) for each in stylizers]
    if args.mask:
        artist = style_arguments.regions(styles, stylizers, args.mask)
    else:
        artist = style_arguments.blended(styles, stylizers)
    colors = "luminance" if args.color == "keep" else args.color
    options = Options(args.strength, colors, args.stroke_size, args.size)
    return batch_run.drawing_of(artist, options, args.format or "", args.quality)
