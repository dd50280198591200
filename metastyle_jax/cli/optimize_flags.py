"""The flags of `optimize`, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.networks import vgg
from metastyle_jax.pixels import pixel_optimizers
from metastyle_jax.settings import ranges

DEFAULT_RATES = {"adam": 0.02, "lbfgs": 1.0}
NAMED_STARTS = ("content", "noise")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add `optimize` to the subparsers of `cli`, with all that it understands but what it does."""
    parser = commands.add_parser(
        "optimize",
        help="stylise by optimising the pixels (Gatys et al.), under any style loss",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--content", nargs="+", required=True, help="pictures, folders, patterns ('photos/*.jpg')")
    add(
        "--style",
        nargs="+",
        required=True,
        help="one for each content, or one for all; several styles of one content work too",
    )
    add("--out", type=Path, required=True, help="folder for everything written")
    add("--loss", default="gram", help="such as poly(1), gaussian(0.5,1,2), bn, 0.3*bn+0.7*poly")
    add("--gamma", type=float, default=5.0, help="style against content; 1: equal gradients")
    add("--features", default="compact", help="compact, vgg16 or vgg16:FILE (and vgg19)")
    add("--pooling", choices=("max", "average"), default="average", help="of the feature network")
    add("--style-layers", type=_names, default="relu1_2,relu2_2,relu3_3")
    add("--style-layer-weights", type=_floats, default="", help="one each; default: 1")
    add("--content-layers", type=_names, default="relu3_3")
    add("--raw", action="store_true", help="losses of layers as they are, not relative to targets")
    add("--total-variation", type=float, default=0.0, help="weight; 0.1 is gentle")
    add("--sizes", type=_ints, default="256", help="short sides in pixels, coarse to fine")
    add("--style-scale", type=float, default=1.0, help="short side of the style over the content's")
    add("--steps", type=_ints, default="300", help="at each size; one number or one per size")
    add("--optimizer", choices=tuple(pixel_optimizers.OPTIMIZERS), default="adam")
    add("--learning-rate", type=float, help="default: 0.02 (adam) or 1 (lbfgs)")
    add("--start", default="content", help="content, noise, or a picture")
    add("--seed", type=int, default=0, help="of the noise and of random losses")
    add("--batch", type=int, default=4, help="pictures at most in one program")
    add("--preview-every", type=int, default=100, help="steps; 0 for no previews")
    add("--resume", action="store_true", help="continue what an earlier run in --out has begun")
    parser.set_defaults(takes_config=False)
    return parser


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
            vgg.needed_convs(args.features.partition(":")[0], layers)
        except ValueError as error:
            where = "features" if "unknown feature" in str(error) else f"{flag}-layers"
            raise UserError(f"--{where}: {error}") from error
    weights = objective.style_layer_weights
    if weights and (len(weights) != len(objective.style_layers) or not min(weights) > 0):
        raise UserError(
            f"--style-layer-weights={','.join(map(str, weights))} needs a positive number for each "
            f"of the {len(objective.style_layers)} layers"
        )
    ranges.check_flags(args, _RANGES)
    if not args.sizes:
        raise UserError("--sizes needs short sides in pixels, such as 128,256")
    if len(args.steps) not in (1, len(args.sizes)):
        raise UserError("--steps needs one positive number, or one for each of --sizes")
