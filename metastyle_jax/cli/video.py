"""metastyle video STYLE... FILM --out=FILE [flags]"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli import drawing_flags, style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files
from metastyle_jax.settings import ranges
from metastyle_jax.storage import home_folder, overwriting
from metastyle_jax.video import conversion

_RANGES = {"quality": ranges.Range(0, 51)}


def add_parser(commands: Any) -> None:
    """Add `video` to the commands."""
    parser = add_command(commands, "video", run)
    parser.add_argument("style", metavar="STYLE", help=style_arguments.HELP)
    parser.add_argument("film", nargs="+", metavar="FILM", help="film to stylize, the last one")
    parser.add_argument(
        "--out",
        type=home_folder.expanded,
        required=True,
        help="film to write: .mp4, .mkv, .mov, .webm or .gif",
    )
    parser.add_argument(
        "--smooth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="against flicker: norms averaged over time, noise that moves with the camera",
    )
    drawing_flags.add(parser)
    parser.add_argument(
        "--quality",
        type=int,
        default=conversion.QUALITY,
        help="constant rate factor, 0 to 51; less is better and larger",
    )


def run(args: argparse.Namespace) -> None:
    """Stylize a film.

    Raises:
      UserError: a style or film cannot be used, or the film cannot be written.
    """
    ranges.check_flags(args, _RANGES)
    *further, name = args.film
    styles = [style_arguments.parse(argument) for argument in (args.style, *further)]
    out, film = args.out, input_files.one_file(name)
    overwriting.refuse_overwriting([out], [film, *(each.file for each in styles)])
    options = drawing_flags.options(args)
    stylizer = style_arguments.blended(styles, drawing_flags.load(args, styles))
    frames = conversion.convert(
        stylizer,
        film,
        out,
        options=options,
        smooth=args.smooth,
        quality=args.quality,
    )
    print(f"wrote {out}: {frames} frames")
