"""metastyle train-features --config=configs/distilled_features.py --workdir=DIR"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.features.training import distillation as feature_training
from metastyle_jax.storage import home_folder


def add_parser(commands: Any) -> None:
    """Add `train-features` to the commands."""
    parser = add_command(commands, "train-features", run, takes_config=True)
    parser.add_argument(
        "--workdir",
        type=home_folder.expanded,
        required=True,
        help="folder for everything written; required",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest checkpoint in --workdir"
    )


def run(args: argparse.Namespace) -> None:
    """Train the feature network.

    Raises:
      UserError: a setting, a folder or a file cannot be used; a loss is not finite.
    """
    config = configuration_flags.parse_config(args.settings)
    feature_training.train_features(config, args.workdir, resume=args.resume)
