"""Flags of `stylize` for random variations."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.stylization import variations
from metastyle_jax.stylization.stylizer import Stylizer

_RANGES = {"random": ranges.Range(1, variations.MOST), "seed": ranges.count(0)}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--random",
        type=int,
        metavar="N",
        help="draw each picture in N variations, with random weights of the style layers; those "
        "that --alpha names keep theirs",
    )
    parser.add_argument(
        "--content-noise",
        action="store_true",
        help="with --random: let the network see the picture with one to nine random dark spots; "
        "for every style",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="S",
        help="with --random: other variations for each seed (default: 0)",
    )


def check(args: argparse.Namespace) -> None:
    """Check the flags.

    Raises:
      UserError: a value is out of its range, or a flag needs --random.
    """
    ranges.check_flags(args, _RANGES)
    if args.random is None and (args.content_noise or args.seed is not None):
        flag = "--content-noise" if args.content_noise else "--seed"
        raise UserError(f"{flag} says what variations are like: add --random=N, or leave it out")


def draw(
    args: argparse.Namespace, stylizer: Stylizer, alpha: Mapping[str, float] | None
) -> list[variations.Variation]:
    """The variations that the flags say; `alpha` has the weights that are not drawn.

    Raises:
      UserError: the stylizer has nothing that could be drawn.
    """
    return variations.draw(
        stylizer,
        args.random,
        seed=args.seed or 0,
        content_noise=args.content_noise,
        alpha=alpha,
    )
