"""The flags of `adapt`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.cli.parsers import Parser, add_command
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import subsets
from metastyle_jax.settings import ranges
from metastyle_jax.storage import home_folder, initialization

_RANGES = {
    "steps": ranges.count(),
    "batch": ranges.count(),
    "size": ranges.count(32),
    "style_size": ranges.count(32),
    "seed": ranges.count(0),
    "learning_rate": ranges.RATE,
    "content_weight": ranges.WEIGHT,
    "style_weight": ranges.WEIGHT,
    "gamma": ranges.POSITIVE_WEIGHT,
    "noise": ranges.FRACTION,
}


def add_parser(commands: Any) -> Parser:
    """Add `adapt` to the commands, with its flags but without what runs it."""
    parser = add_command(commands, "adapt")
    parser.description = f"{parser.description} Without flags: the embedded demonstration."
    _add_files(parser.add_argument)
    _add_numbers(parser.add_argument)
    return parser


def _add_files(add: Callable[..., Any]) -> None:
    add("--style", metavar="FILE", help="style image; default: an embedded sample")
    add(
        "--content",
        nargs="+",
        metavar="PICTURES",
        help="pictures to stylize: files, folders or patterns ('photos/*.jpg'); default: embedded "
        "samples",
    )
    add(
        "--out",
        type=home_folder.expanded,
        default=Path("out"),
        help="folder for everything written",
    )
    add(
        "--init",
        help="where to start: embedded (the default), adjustable (with sliders, the default of "
        "--adjustable), a workdir of metastyle train (or WORKDIR@STEP), or a params.safetensors",
    )
    add(
        "--start",
        choices=starting_style.KINDS,
        default="",
        help="the style to start from: one for all images (neutral), or what a network sees in the "
        "style image (predicted); default: predicted where --init can",
    )
    add(
        "--features",
        help="feature network: distilled, vgg16 or vgg16:FILE; default: the one of the "
        "training where it is on this machine, otherwise distilled",
    )
    add(
        "--training-contents",
        help="contents to train on: a folder, tfds:NAME:SPLIT or procedural:COUNT; default: the "
        "pictures of --content",
    )


def _add_numbers(add: Callable[..., Any]) -> None:
    add(
        "--steps",
        type=int,
        help=f"adaptation steps; default: {service.DEFAULT_STEPS}, or {service.FEWER_STEPS} from a "
        "predicted start where distilled features stand in for those of the training",
    )
    add(
        "--parameters",
        choices=("norm", "all"),
        help="what is adapted: the style alone (norm, the default) or all parameters",
    )
    add(
        "--learning-rate",
        type=float,
        help="learning rate of Adam; default: 0.01 (norm) or 0.0003 (all)",
    )
    add(
        "--adjustable",
        action="store_true",
        help="adapt sliders too: weights of the style layers that can be chosen when drawing, see "
        "stylize --alpha",
    )
    add("--batch", type=int, default=1, help="contents per step")
    add("--size", type=int, default=256, help="side of the training crops, pixels")
    add("--style-size", type=int, default=512, help="short side of the style image, pixels")
    add("--content-weight", type=float, help="weight of the content loss; default: as trained")
    add("--style-weight", type=float, help="weight of the style loss; default: as trained")
    add("--style-loss", help="style loss, such as gaussian or 0.3*bn+0.7*poly; default: as trained")
    add(
        "--gamma",
        type=float,
        help="style weight relative to the one at which content and style gradients are equal at "
        "the start; default with another --style-loss: that of the training",
    )
    add(
        "--noise",
        type=float,
        help="standard deviation of the input noise (0 to 1); 0 disables it; default: as trained",
    )
    add("--seed", type=int, default=0, help="seed of the order and crops of the contents")


def check(args: argparse.Namespace) -> None:
    """Check the flags; fill in where it starts, what is adapted, and the learning rate.

    Raises:
      UserError: a number out of its range, or flags that exclude each other.
    """
    if args.adjustable and args.parameters is not None:
        raise UserError("--adjustable and --parameters both say what is adapted: give one")
    if args.init is None:
        args.init = initialization.ADJUSTABLE if args.adjustable else initialization.EMBEDDED
    args.parameters = subsets.SLIDERS if args.adjustable else args.parameters or "norm"
    if args.learning_rate is None:
        args.learning_rate = service.DEFAULT_RATES[args.parameters]
    ranges.check_flags(args, _RANGES)
    if args.gamma is not None and args.style_weight is not None:
        raise UserError("--gamma and --style-weight both set the weight of the style: give one")
