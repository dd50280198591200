"""The other commands: python -m metastyle_jax COMMAND ..."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from metastyle_jax.cli import terminal
from metastyle_jax.runtime import compilation_cache
from metastyle_jax.storage import style_packs

# the module of each command, which has `add_parser`; imported when it is asked for, since some take
# seconds (Orbax, Grain, matplotlib). `packs` and `plan` are below.
MODULES = {
    "stylize": "stylize",
    "balance": "balance",
    "evaluate": "evaluate",
    "optimize": "optimize",
    "study": "study",
    "train-features": "train_features",
}


def main(argv: Sequence[str]) -> None:
    """Run a command; `argv` is without the program's name.

    Raises:
      UserError: a file or folder cannot be used.
      SystemExit: with code 2 for an unknown or malformed flag.
    """
    parser = argparse.ArgumentParser(prog="python -m metastyle_jax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_commands(commands, argv)
    # a command with a configuration gets what argparse does not know: --config.name=value
    args, args.settings = parser.parse_known_args(argv)
    if args.settings and not args.takes_config:
        parser.error(f"unrecognized arguments: {' '.join(args.settings)}")
    terminal.show_log()
    compilation_cache.enable()
    args.run(args)


def _add_commands(commands: Any, argv: Sequence[str]) -> None:
    """Add the command that `argv` begins with; all of them where help or a mistake needs them."""
    own = {"packs": _add_packs, "plan": _add_plan}
    asked = argv[0] if argv else ""
    for name in [asked] if asked in {**MODULES, **own} else [*MODULES, *own]:
        if name in own:
            own[name](commands)
        else:
            importlib.import_module(f"metastyle_jax.cli.{MODULES[name]}").add_parser(commands)


def _add_packs(commands: Any) -> None:
    parser = commands.add_parser("packs", help="the styles that ship with the package")
    parser.set_defaults(run=_packs, takes_config=False)


def _packs(args: argparse.Namespace) -> None:
    del args
    for pack in style_packs.index():
        print(f"{style_packs.PREFIX}{pack.name:24} {pack.artist}: {pack.title} ({pack.year})")


def _add_plan(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="the memory that training needs per outer step, and the largest batch that fits",
        usage="%(prog)s --config=FILE [--config.NAME=VALUE ...] [--memory=SIZE] [--verify]",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--memory", help="of each device, such as 16GB or 24GiB; default: what the device has"
    )
    parser.add_argument(
        "--verify", action="store_true", help="compile the largest batch too, not only extrapolate"
    )
    parser.set_defaults(run=_plan, takes_config=True)


def _plan(args: argparse.Namespace) -> None:
    from metastyle_jax.cli import configuration_flags
    from metastyle_jax.training import memory_plan, plan_report

    limit = None if args.memory is None else plan_report.parse_size("--memory", args.memory)
    config = configuration_flags.parse_config(args.settings)
    found = memory_plan.plan(
        config,
        limit=limit,
        verify=args.verify,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(plan_report.render(found, config))
