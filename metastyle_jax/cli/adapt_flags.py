"""The flags of adapt.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.storage import initialization

# 1e-3 is the rate to train all parameters from scratch; in adaptation it ends up worse than 3e-4:
# docs/results/training.md
DEFAULT_RATES = {"norm": 1e-2, "all": 3e-4}

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


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of adapt.py (without the program's name).

    Raises:
      UserError: a number out of its range, or flags that exclude each other.
      SystemExit: with code 2 and one line for an unknown or malformed flag.
    """
    args = _parser().parse_args(argv)
    if args.learning_rate is None:
        args.learning_rate = DEFAULT_RATES[args.parameters]
    ranges.check_flags(args, _RANGES)
    if args.gamma is not None and args.style_weight is not None:
        raise UserError("--gamma and --style-weight both set the weight of the style: give one")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adapt.py",
        description="Adapt the network to one style image and stylise pictures with it. "
        "Without arguments: the embedded demonstration.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--style", help="style image; default: an embedded sample")
    add(
        "--content",
        nargs="+",
        help="pictures, folders or patterns ('photos/*.jpg') to stylise; default: embedded samples",
    )
    add("--out", type=Path, default=Path("out"), help="folder for everything written")
    add(
        "--init",
        default=initialization.EMBEDDED,
        help="where to start: a workdir of train.py or a params.safetensors",
    )
    add("--steps", type=int, default=100, help="adaptation steps")
    add("--parameters", choices=("norm", "all"), default="norm", help="what moves")
    add(
        "--features",
        help="feature network: compact, vgg16 or vgg16:FILE (and vgg19); default: the one that "
        "the initialisation was trained with",
    )
    add(
        "--training-contents",
        help="contents to train on: a folder, tfds:NAME:SPLIT or procedural:COUNT; default: the "
        "pictures of --content, or the embedded samples",
    )
    add(
        "--learning-rate",
        type=float,
        help="of Adam; default: 0.01 (norm) or 0.0003 (all)",
    )
    add("--batch", type=int, default=1, help="contents per step")
    add("--size", type=int, default=256, help="side of the training crops in pixels")
    add("--style-size", type=int, default=512, help="short side of the style image in pixels")
    add("--content-weight", type=float, help="default: as the initialisation was trained")
    add("--style-weight", type=float, help="default: as the initialisation was trained")
    add("--style-loss", help="such as gaussian or 0.3*bn+0.7*poly; default: as trained")
    add(
        "--gamma",
        type=float,
        help="style weight in units of that at which the gradients of content and style are equal "
        "at the start; default for another --style-loss: that of the trained loss and weight",
    )
    add(
        "--noise",
        type=float,
        help="deviation of the noise on the contents, in [0, 1], from which strokes grow where "
        "they are flat; default: as the initialisation was trained; 0 for none",
    )
    add("--seed", type=int, default=0, help="of the order and crops of the training contents")
    return parser
