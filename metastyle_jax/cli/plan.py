"""metastyle plan --config=FILE [--memory=SIZE] [--verify]"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.settings import configuration
from metastyle_jax.training import memory_plan, plan_report


def add_parser(commands: Any) -> None:
    """Add `plan` to the commands."""
    parser = add_command(commands, "plan", run, takes_config=True)
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory of each device, such as 16GB or 24GiB; default: what the device has",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compile the largest batch too, instead of extrapolating to it",
    )


def run(args: argparse.Namespace) -> None:
    """Print the memory of an outer step and the largest batch.

    Raises:
      UserError: a setting or the size cannot be used.
    """
    limit = None if args.memory is None else plan_report.parse_size("--memory", args.memory)
    config = configuration.read(configuration_flags.parse_config(args.settings))
    planned = memory_plan.plan(
        config,
        limit=limit,
        verify=args.verify,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(plan_report.render(planned, config))
