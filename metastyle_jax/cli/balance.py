"""metastyle balance --config=FILE [--init=...]: style weights that mean the same."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion
from metastyle_jax.reporting.records import markdown_table
from metastyle_jax.settings import configuration, construction, ranges
from metastyle_jax.studies.meta_gradients.measurement_point import RANDOM, load_point

LOSSES = "gram,linear,poly,gaussian,bn"


def add_parser(commands: Any) -> None:
    """Add `balance` to the commands."""
    parser = add_command(commands, "balance", run, takes_config=True)
    parser.add_argument("--losses", default=LOSSES, help="style losses, separated by commas")
    parser.add_argument(
        "--init", default=RANDOM, help="where the weights are measured: random, a workdir or a file"
    )
    parser.add_argument("--batches", type=int, default=4, help="training batches to measure on")


def run(args: argparse.Namespace) -> None:
    """Print a table of style weights, over the first batches of the training.

    Raises:
      UserError: a setting, a loss or a file cannot be used.
    """
    config = configuration.read(configuration_flags.parse_config(args.settings))
    ranges.check_flags(args, {"batches": ranges.count()})
    names = configuration_flags.split_list(args.losses)
    for name in names:
        try:
            fusion.parse(name)
        except ValueError as error:
            raise UserError(f"--losses: {error}") from error
    point = load_point(config, args.init, batches=args.batches)
    rows = []
    for name in names:
        objective = construction.make_objective(
            configuration.changed(config, {"objective.style_loss": name})
        )
        weights = [
            style_adaptation.balance(
                point.params.network, style, batch.support, point.task.network, objective
            )
            for batch in point.batches
            for style in batch.styles
        ]
        quartiles = np.percentile(weights, [25, 50, 75]).tolist()
        rows.append({"loss": name, **dict(zip(COLUMNS, quartiles, strict=True))})
    print(markdown_table(rows, {"loss": "loss", **COLUMNS}))
    print("Style weights (config.objective.style_weight) at gamma 1, over styles.")


COLUMNS = {"low": "first quartile", "median": "median", "high": "third quartile"}
