"""metastyle video STYLE... FILM --out=FILE [flags]"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from metastyle_jax.cli import style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files
from metastyle_jax.settings import ranges
from metastyle_jax.storage import overwriting
from metastyle_jax.stylization.options import COLORS, STROKE_SIZES, STRONGEST, Options
from metastyle_jax.video import conversion

_RANGES = {
    "noise": ranges.FRACTION,
    "strength": ranges.Range(0, STRONGEST),
    "stroke_size": ranges.Range(*STROKE_SIZES),
    "size": ranges.Range(16, 65535),
    "quality": ranges.Range(0, 51),
}


def add_parser(commands: Any) -> None:
    """Add `video` to the commands."""
    parser = add_command(commands, "video", run)
    parser.add_argument("style", metavar="STYLE", help=style_arguments.HELP)
    parser.add_argument("film", nargs="+", metavar="FILM", help="film to stylize, the last one")
    parser.add_argument(
        "--out", type=Path, required=True, help="film to write: .mp4, .mkv, .mov, .webm or .gif"
    )
    parser.add_argument(
        "--smooth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="against flicker: norms averaged over time, noise that moves with the camera",
    )
    parser.add_argument("--strength", type=float, default=1.0, help="as of metastyle stylize")
    parser.add_argument(
        "--color", choices=("style", "keep", *COLORS[1:]), default="style", help="as of stylize"
    )
    parser.add_argument("--stroke-size", type=float, default=1.0, help="as of stylize")
    parser.add_argument("--size", type=int, help="short side of the film, pixels")
    parser.add_argument("--noise", type=float, help="as of stylize")
    parser.add_argument(
        "--quality",
        type=int,
        default=conversion.QUALITY,
        help="constant rate factor, 0 to 51; less is better and larger",
    )
    parser.add_argument("--init", help="weights of the style; default: those that it names")


def run(args: argparse.Namespace) -> None:
    """Stylize a film.

    Raises:
      UserError: a style or film cannot be used, or the film cannot be written.
    """
    ranges.check_flags(args, _RANGES)
    *further, name = args.film
    styles = [style_arguments.parse(argument) for argument in (args.style, *further)]
    out, film = args.out.expanduser(), input_files.one_file(name)
    overwriting.refuse_overwriting([out], [film, *(each.file for each in styles)])
    stylizer = style_arguments.blended(styles, style_arguments.load_all(styles, args.init))
    if args.noise is not None:
        stylizer = dataclasses.replace(stylizer, input_noise=args.noise)
    colors = "luminance" if args.color == "keep" else args.color
    frames = conversion.convert(
        stylizer,
        film,
        out,
        options=Options(args.strength, colors, args.stroke_size, args.size),
        smooth=args.smooth,
        quality=args.quality,
    )
    print(f"wrote {out}: {frames} frames")
