"""Flags that say how a picture or film is drawn, for the commands that draw."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from metastyle_jax.cli import style_arguments
from metastyle_jax.settings import ranges
from metastyle_jax.stylization import sliders
from metastyle_jax.stylization.options import COLORS, STROKE_SIZES, STRONGEST, Options
from metastyle_jax.stylization.stylizer import Stylizer

KEEP = "keep"  # another word for the first way to keep colors
_RANGES = {
    "noise": ranges.FRACTION,
    "strength": ranges.Range(0, STRONGEST),
    "stroke_size": ranges.Range(*STROKE_SIZES),
    "size": ranges.Range(16, 65535),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help=f"0 is the picture itself, 1 the style, up to {STRONGEST:g} more than the style",
    )
    parser.add_argument(
        "--color",
        choices=(COLORS[0], KEEP, *COLORS[1:]),
        default=COLORS[0],
        help="style: colors of the style. keep or luminance: colors of the picture, light and dark "
        "of the drawing. covariance: the drawing, its colors moved to the picture's",
    )
    parser.add_argument(
        "--stroke-size",
        type=float,
        default=1.0,
        help="strokes are so many times as large: drawn small, enlarged, and drawn once more",
    )
    parser.add_argument(
        "--size", type=int, help="short side of what is drawn, pixels; default: as it is"
    )
    parser.add_argument(
        "--noise",
        type=float,
        help="standard deviation of the input noise (0 to 1); 0 disables it; default: as adapted",
    )
    add_alpha(parser)
    parser.add_argument("--init", help=style_arguments.INIT_HELP)


def add_alpha(parser: argparse.ArgumentParser) -> None:
    """Add `--alpha`."""
    parser.add_argument(
        "--alpha",
        metavar="LAYER:WEIGHT,...",
        help="weights of the style layers, 0 to 1, of a style with sliders (adapt --adjustable): "
        "relu2_1:1,relu3_1:0.2; 1 for a layer that is not named",
    )


def options(args: argparse.Namespace) -> Options:
    """What the flags say.

    Raises:
      UserError: a value is out of its range.
    """
    ranges.check_flags(args, _RANGES)
    colors = COLORS[1] if args.color == KEEP else args.color
    return Options(args.strength, colors, args.stroke_size, args.size)


def load(
    args: argparse.Namespace, styles: Sequence[style_arguments.StyleArgument]
) -> list[Stylizer]:
    """Load styles, with the noise and the weights that the flags say.

    Raises:
      UserError: a style cannot be loaded, or has no such weights.
    """
    alpha = None if args.alpha is None else sliders.parse("--alpha", args.alpha)
    stylizers = load_with_sliders(args, styles)
    return stylizers if alpha is None else [each.at(alpha) for each in stylizers]


def load_with_sliders(
    args: argparse.Namespace, styles: Sequence[style_arguments.StyleArgument]
) -> list[Stylizer]:
    """Load styles, with the noise that the flags say, their sliders where they are.

    Raises:
      UserError: a style cannot be loaded.
    """
    stylizers = style_arguments.load_all(styles, args.init)
    if args.noise is None:
        return stylizers
    return [dataclasses.replace(each, input_noise=args.noise) for each in stylizers]
