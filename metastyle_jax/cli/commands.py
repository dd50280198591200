"""metastyle COMMAND ..., the same as python -m metastyle_jax COMMAND ..."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence

from metastyle_jax.cli import terminal
from metastyle_jax.cli.parsers import SUMMARIES, Parser, add_command
from metastyle_jax.errors import UserError

PROGRAM = "metastyle"


def main(argv: Sequence[str]) -> None:
    """Run a command; `argv` is without the program's name.

    Raises:
      UserError: an unknown command or flag, or a file or folder that cannot be used.
      SystemExit: with code 0 after --help.
    """
    args = parse(argv)
    terminal.show_log()
    # the commands that do not compute do not import it; training meets other processes first
    if "jax" in sys.modules and not getattr(args, "meets_others", False):
        from metastyle_jax.runtime import compilation_cache, kept_forms

        compilation_cache.enable()
        kept_forms.enable()
    args.run(args)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags of a command.

    Args:
      argv: without the program's name.

    Returns:
      The flags, with `run` (what to call with them), `settings` (`--config=FILE` and overrides of
      settings, for `configuration_flags.parse_config`) and `command_line`.

    Raises:
      UserError, SystemExit: see `main`.
    """
    parser = Parser(
        prog=PROGRAM, description="Neural style transfer as bilevel optimization, in JAX and Flax."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = argv[0] if argv else ""
    if asked in SUMMARIES:
        # only its own module: some take seconds to import (Orbax, Grain, matplotlib)
        module = importlib.import_module(f"metastyle_jax.cli.{asked.replace('-', '_')}")
        module.add_parser(commands)
    else:
        for name in SUMMARIES:
            add_command(commands, name)
    if asked and asked not in SUMMARIES and not asked.startswith("-"):
        parser.error(f"there is no command {asked!r}: use one of {', '.join(SUMMARIES)}")
    args, rest = parser.parse_known_args(argv)
    if rest and not args.takes_config:
        what = "flag" if rest[0].startswith("-") else "argument"
        command = " ".join([PROGRAM, asked])
        raise UserError(f"{command} has no {what} {rest[0]}; see {command} --help")
    args.settings = rest
    if getattr(args, "config", None) is not None:
        args.settings = [f"--config={args.config}", *rest]
    args.command_line = shlex.join([PROGRAM, *argv])
    return args
