"""python -m metastyle_jax train-features --config=configs/compact_features.py --workdir=DIR"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.features.training import distillation as feature_training


def add_parser(commands: Any) -> None:
    """Add `train-features` to the subparsers of `cli`."""
    parser = commands.add_parser(
        "train-features",
        help="train the compact feature network, from teachers and contrast between pictures",
        usage="%(prog)s --config=FILE --workdir=DIR [--config.NAME=VALUE ...] [--resume]",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.set_defaults(run=run, takes_config=True)


def run(args: argparse.Namespace) -> None:
    """Train the feature network.

    Raises:
      UserError: a setting, a folder or a file cannot be used; a loss is not finite.
    """
    config = configuration_flags.parse_config(args.settings)
    feature_training.train_features(config, args.workdir, resume=args.resume)
