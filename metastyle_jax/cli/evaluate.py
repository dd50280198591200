"""python -m metastyle_jax evaluate --styles=DIR --contents=DIR --out=DIR [--init=...]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.evaluation import evaluation_run
from metastyle_jax.evaluation.evaluation_settings import EvaluationSettings
from metastyle_jax.storage import folder_lock

HELP = {
    "init": "embedded, a workdir of train.py or a params.safetensors; several, with commas, share "
    "the bounds, which minimise the first one's objective",
    "moves": "what adaptation moves: norm, all",
    "norm_rate": "of Adam where the style alone moves",
    "all_rate": "of Adam where everything moves",
    "styles": "folder of styles that nothing was trained on",
    "contents": "folder of contents, likewise",
    "training_contents": "folder of contents to adapt on; default: --contents",
    "compare": "NAME=FOLDER, several with commas: pictures of other methods, "
    "FOLDER/STYLE/CONTENT.png",
    "features": "feature network of the judge: compact, vgg16, vgg16:FILE ...; default: vgg16 "
    "where it is installed, else the training's",
    "style_weight": "of that judge, against a content weight of 1",
    "lpips": "network of LPIPS: alexnet, vgg16 or none; default: alexnet where it is installed",
    "preset": "published: 20 contents x 40 styles at 512 px, the protocol of published tables",
    "style_count": "styles",
    "content_count": "contents",
    "bound_styles": "styles that are also trained from scratch, and optimised pixel by pixel",
    "size": "side of all pictures, pixels",
    "scale": "pictures are crops after their short side was resized to this many times --size",
    "batch": "contents per adaptation step",
    "at": "adaptation steps that are judged",
    "scratch_at": "the same for the network trained from scratch",
    "pixel_steps": "of the optimisation of the pixels",
    "pixel_contents": "contents whose pixels are optimised",
    "blind": "seed of a sheet that shows methods in random order, for a vote; -1 for none",
    "blind_pairs": "pairs on that sheet",
}


def add_parser(commands: Any) -> None:
    """Add `evaluate` to the subparsers of `cli`."""
    parser = commands.add_parser(
        "evaluate",
        help="score an initialisation against controls, other methods, training from scratch and "
        "pixel optimisation",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; a stopped one goes on")
    configuration_flags.add_settings(parser, EvaluationSettings, HELP)
    parser.set_defaults(run=run, takes_config=False)


def run(args: argparse.Namespace) -> None:
    """Evaluate as the flags say.

    Raises:
      UserError: a flag, a folder or a file cannot be used.
    """
    out = args.out.expanduser()
    with folder_lock.locked(out):
        evaluation_run.run(configuration_flags.settings_of(args, EvaluationSettings), out)
