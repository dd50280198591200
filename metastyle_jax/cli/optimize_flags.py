"""The flags of `optimize`, and what they mean."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import Parser, add_command
from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.networks import vgg
from metastyle_jax.pixels import pixel_optimizers
from metastyle_jax.settings import ranges
from metastyle_jax.storage import home_folder

DEFAULT_RATES = {"adam": 0.02, "lbfgs": 1.0}
NAMED_STARTS = ("content", "noise")


def add_parser(commands: Any) -> Parser:
    """Add `optimize` to the commands, with its flags but without what runs it."""
    parser = add_command(commands, "optimize")
    _add_losses(parser.add_argument)
    _add_schedule(parser.add_argument)
    return parser


def _add_losses(add: Callable[..., Any]) -> None:
    add(
        "--content",
        nargs="+",
        required=True,
        metavar="PICTURES",
        help="contents: files, folders or patterns ('photos/*.jpg'); required",
    )
    add(
        "--style",
        nargs="+",
        required=True,
        metavar="PICTURES",
        help="style images: one for each content or one for all; or several for one content; "
        "required",
    )
    add(
        "--out",
        type=home_folder.expanded,
        required=True,
        help="folder for everything written; required",
    )
    add(
        "--loss",
        default="gram",
        help="style loss, such as poly(1), gaussian(0.5,1,2), bn, 0.3*bn+0.7*poly",
    )
    add(
        "--gamma",
        type=float,
        default=5.0,
        help="style weight relative to the one at which content and style gradients are equal",
    )
    add("--features", default="distilled", help="feature network: distilled, vgg16, vgg16:FILE")
    add(
        "--pooling",
        choices=("max", "average"),
        default="average",
        help="pooling of the feature network",
    )
    add(
        "--style-layers",
        type=_names,
        default="relu1_2,relu2_2,relu3_3",
        help="layers of the style loss, separated by commas",
    )
    add(
        "--style-layer-weights",
        type=_floats,
        default="",
        help="a weight for each style layer, separated by commas; default: 1",
    )
    add(
        "--content-layers",
        type=_names,
        default="relu3_3",
        help="layers of the content loss, separated by commas",
    )
    add(
        "--raw",
        action="store_true",
        help="do not divide the loss of each layer by the mean square of its target",
    )
    add(
        "--total-variation",
        type=float,
        default=0.0,
        help="weight of the total variation; 0.1 smooths a little",
    )


def _add_schedule(add: Callable[..., Any]) -> None:
    add("--sizes", type=_ints, default="256", help="short sides in pixels, coarse to fine")
    add(
        "--style-scale",
        type=float,
        default=1.0,
        help="short side of the style image relative to that of the content",
    )
    add(
        "--steps",
        type=_ints,
        default="300",
        help="optimization steps: one number for all sizes, or one for each size",
    )
    add(
        "--optimizer",
        choices=tuple(pixel_optimizers.OPTIMIZERS),
        default="adam",
        help="optimizer of the pixels",
    )
    add("--learning-rate", type=float, help="learning rate; default: 0.02 (adam) or 1 (lbfgs)")
    add(
        "--start",
        default="content",
        help="first picture: the content, random noise (noise), or a file",
    )
    add("--seed", type=int, default=0, help="seed of that noise and of random style losses")
    add("--batch", type=int, default=4, help="largest number of pictures in one program")
    add("--preview-every", type=int, default=100, help="steps between previews; 0 for none")
    add("--resume", action="store_true", help="continue an interrupted run in --out")


def _names(text: str) -> tuple[str, ...]:
    return tuple(configuration_flags.split_list(text))


def _ints(text: str) -> tuple[int, ...]:
    return tuple(map(int, configuration_flags.split_list(text)))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(map(float, configuration_flags.split_list(text)))


# argparse names them in its messages
_ints.__name__ = _floats.__name__ = "list of numbers"


def make_objective(args: argparse.Namespace) -> perceptual.Objective:
    """The objective that the flags describe, with weight 1 for content and style.

    Raises:
      UserError: an unknown loss, or a number in it that cannot be used.
    """
    try:
        style_loss = fusion.parse(args.loss)
    except ValueError as error:
        raise UserError(f"--loss: {error}") from error
    return perceptual.Objective(
        content_layers=args.content_layers,
        style_layers=args.style_layers,
        style_weight=1.0,
        style_layer_weights=args.style_layer_weights,
        total_variation_weight=args.total_variation or None,
        style_loss=style_loss,
        normalize=not args.raw,
    )


_RANGES = {
    "gamma": ranges.POSITIVE_WEIGHT,
    "style_scale": ranges.Range(0, 100, above=True),
    "total_variation": ranges.WEIGHT,
    "preview_every": ranges.count(0),
    "seed": ranges.count(0),
    "batch": ranges.count(),
    "sizes": ranges.count(16),
    "steps": ranges.count(),
    "learning_rate": ranges.RATE,
}


def check(args: argparse.Namespace, objective: perceptual.Objective) -> None:
    """Refuse flags that no run could use; `objective` is what `make_objective` made of them.

    Raises:
      UserError: naming the flag.
    """
    for flag, layers in (("style", objective.style_layers), ("content", objective.content_layers)):
        try:
            vgg.convs_of_loss(args.features.partition(":")[0], layers)
        except ValueError as error:
            where = "features" if "unknown feature" in str(error) else f"{flag}-layers"
            raise UserError(f"--{where}: {error}") from error
    weights = objective.style_layer_weights
    positive = all(0 < weight < math.inf for weight in weights or ())
    if weights and (len(weights) != len(objective.style_layers) or not positive):
        raise UserError(
            f"--style-layer-weights={','.join(map(str, weights))} needs a positive number for each "
            f"of the {len(objective.style_layers)} layers"
        )
    ranges.check_flags(args, _RANGES)
    if not args.sizes:
        raise UserError("--sizes needs short sides in pixels, such as 128,256")
    if len(args.steps) not in (1, len(args.sizes)):
        raise UserError("--steps needs one positive number, or one for each of --sizes")
