"""metastyle stylize STYLE... PICTURES... --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metastyle_jax.cli import drawing_flags, random_flags, style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files, picture_writer
from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.storage import home_folder
from metastyle_jax.stylization import batch_run, sliders
from metastyle_jax.stylization.stylizer import Stylizer
from metastyle_jax.stylization.variations import Variation

_LOG = logging.getLogger(__name__)

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
    parser.add_argument(
        "--out", type=home_folder.expanded, required=True, help="folder for the pictures"
    )
    drawing_flags.add(parser)
    random_flags.add(parser)
    parser.add_argument(
        "--mask",
        nargs="+",
        type=home_folder.expanded,
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
        help="draw all pictures, also those that --out has from the same file and style, and "
        "replace files there that stylize did not draw",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object at the end (written, skipped, failures; variations with "
        "--random), progress to stderr",
    )


def run(args: argparse.Namespace) -> None:
    """Stylize all pictures that can be read.

    Raises:
      PartialFailure: some pictures could not be done; the others are written.
      UserError: nothing could be done.
    """
    out = args.out
    styles, inputs = style_arguments.split([args.style, *args.inputs])
    if not inputs:
        raise UserError(
            "name the pictures to stylize after the style: metastyle stylize pack:great_wave "
            "photo.jpg --out=out"
        )
    ranges.check_flags(args, _RANGES)
    random_flags.check(args)
    files = [each.file for each in styles]
    drawings, variations = _drawings(args, styles)
    pictures = input_files.find_pictures(inputs, without=out)
    for note in pictures.notes:
        print(note, file=sys.stderr)
    say: Callable[[str], None] = _to_stderr if args.json else _LOG.info
    for variation in variations:
        say(str(variation))
    outcome = batch_run.run(
        drawings,
        list(dict.fromkeys(pictures.files)),  # a file that is named twice is drawn once
        out,
        inputs=[*files, *args.mask, *([Path(args.init)] if args.init else [])],
        redo=args.redo,
        say=say,
    )
    if args.json:
        print(json.dumps(_described(outcome, variations)))
    outcome.check()


def _described(outcome: batch_run.Outcome, variations: Sequence[Variation]) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {
        name: [str(each) for each in values] for name, values in dataclasses.asdict(outcome).items()
    }
    if variations:
        lists["variations"] = [dataclasses.asdict(each) for each in variations]
    return lists


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _drawings(
    args: argparse.Namespace, styles: list[style_arguments.StyleArgument]
) -> tuple[list[batch_run.Drawing], list[Variation]]:
    """What is made of every picture; and, with --random, the variation that each is."""
    if args.random is None:
        return [_drawing(args, styles, drawing_flags.load(args, styles))], []
    alpha = None if args.alpha is None else sliders.parse("--alpha", args.alpha)
    stylizers = drawing_flags.load_with_sliders(args, styles)
    variations = random_flags.draw(args, stylizers[0], alpha)
    drawings = [
        _drawing(args, styles, [each.applied(stylizer) for stylizer in stylizers], each)
        for each in variations
    ]
    return drawings, variations


def _drawing(
    args: argparse.Namespace,
    styles: list[style_arguments.StyleArgument],
    stylizers: list[Stylizer],
    variation: Variation | None = None,
) -> batch_run.Drawing:
    options, suffix = drawing_flags.options(args), ""
    if variation is not None:
        options, suffix = dataclasses.replace(options, spots=variation.spots), variation.suffix
    if args.mask:
        artist = style_arguments.regions(styles, stylizers, args.mask)
    else:
        artist = style_arguments.blended(styles, stylizers)
    return batch_run.drawing_of(artist, options, args.format or "", args.quality, suffix)
