"""metastyle evaluate --styles=DIR --contents=DIR --out=DIR [--init=...]"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.evaluation import evaluation_run, evaluation_settings
from metastyle_jax.evaluation.evaluation_settings import EvaluationSettings
from metastyle_jax.storage import folder_lock, home_folder

HELP = {
    "init": "starts to score: embedded, a workdir of metastyle train or a params.safetensors, "
    "separated by commas; training from scratch and pixel optimization minimize the objective of "
    "the first one",
    "start": "the style that adaptation starts from: neutral, predicted or both; default: "
    "predicted where --init can",
    "moves": "what is adapted: the style alone (norm), all parameters (all), or both",
    "norm_rate": "learning rate of Adam for the style alone",
    "all_rate": "learning rate of Adam for all parameters",
    "styles": "folder of style images that nothing was trained on",
    "contents": "folder of contents that nothing was trained on",
    "training_contents": "folder of contents to adapt on; default: --contents",
    "compare": "pictures of other methods: NAME=FOLDER, separated by commas, with files "
    "FOLDER/STYLE/CONTENT.png",
    "features": "feature network of the judge: distilled, vgg16, vgg16:FILE; default: vgg16 where "
    "it is installed, otherwise the one of the training",
    "style_weight": "style weight of the judge, with a content weight of 1",
    "lpips": "network of LPIPS: alexnet, vgg16 or none; default: alexnet where it is installed",
    "style_count": "number of styles",
    "content_count": "number of contents",
    "bound_styles": "styles for training from scratch and pixel optimization",
    "size": "side of all pictures, pixels",
    "scale": "pictures are resized to a short side of this many times --size, then cropped",
    "batch": "contents per adaptation step",
    "at": "adaptation steps after which pictures are scored",
    "scratch_at": "the same for training from scratch",
    "pixel_steps": "steps of pixel optimization",
    "pixel_contents": "contents for pixel optimization",
    "blind": "seed of a sheet that shows the methods in random order, for a vote; -1 for no sheet",
    "blind_pairs": "pairs on that sheet",
}


def add_parser(commands: Any) -> None:
    """Add `evaluate` to the commands."""
    parser = add_command(commands, "evaluate", run)
    parser.add_argument(
        "--out",
        type=home_folder.expanded,
        required=True,
        help="folder for everything written; a stopped evaluation there is continued",
    )
    configuration_flags.add_settings(parser, EvaluationSettings, HELP)
    parser.add_argument(
        "--preset",
        default="",
        help="published: 20 contents, 40 styles, 512 pixels, as in published tables, where no flag "
        "says otherwise",
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate as the flags say.

    Raises:
      UserError: a flag, a folder or a file cannot be used.
    """
    out = args.out
    settings = evaluation_settings.of_preset(args.preset, **configuration_flags.given(args))
    with folder_lock.locked(out):
        evaluation_run.run(settings, out)
