"""metastyle train --config=FILE --workdir=DIR [--resume], the same as train.py"""

from __future__ import annotations

import argparse
import logging
import textwrap
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.errors import UserError
from metastyle_jax.networks import convolution_forms
from metastyle_jax.runtime import compilation_cache, kept_forms, processes, profiling, topology
from metastyle_jax.settings import configuration, schema
from metastyle_jax.storage import home_folder
from metastyle_jax.training import compile_report, meta_training

_LOG = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add `train` to the commands."""
    parser = add_command(commands, "train", run, takes_config=True)
    parser.add_argument(
        "--workdir", type=home_folder.expanded, help="folder for everything written; required"
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="continue from the newest checkpoint in --workdir",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0, where JAX does not know the others (it does on TPU, Slurm, Open MPI)",
    )
    parser.add_argument(
        "--compile-only",
        action="store_true",
        help="compile the outer step for the devices at hand, say its memory and operations, and "
        "end; nothing is read or written",
    )
    parser.add_argument(
        "--topology",
        metavar="TPU:SHAPE",
        help="with --compile-only: for a TPU slice that need not be there, as v5e:4x4; by libtpu",
    )
    parser.add_argument(
        "--profile",
        metavar="A:B",
        help="write a trace of steps A to B below --workdir, for tensorboard --logdir",
    )
    parser.add_argument("--processes", type=int, help="that train together; with --coordinator")
    parser.add_argument("--process-id", type=int, help="of this one, from 0; with --coordinator")
    parser.set_defaults(meets_others=True)
    parser.epilog = _settings_help()


def run(args: argparse.Namespace) -> None:
    """Train.

    Raises:
      UserError: a setting, a folder or a file cannot be used; a loss is not finite.
    """
    config = configuration_flags.parse_config(args.settings)
    profile = profiling.parse_steps("--profile", args.profile) if args.profile else None
    if args.topology and not args.compile_only:
        raise UserError(f"--topology={args.topology} needs --compile-only: add it")
    if not args.compile_only:
        configuration_flags.require("--workdir", args.workdir, "runs/NAME")
    launch = processes.Launch(args.coordinator, args.processes, args.process_id)
    with processes.joined(launch):
        compilation_cache.enable()
        kept_forms.enable()
        if convolution_forms.used() != convolution_forms.Forms():
            _LOG.info(f"convolutions: {kept_forms.described()}")
        if not processes.is_main():
            logging.getLogger("metastyle_jax").setLevel(logging.WARNING)
        if args.compile_only:
            devices = topology.described("--topology", args.topology) if args.topology else None
            print(compile_report.report(configuration.read(config), devices))
            return
        meta_training.train(config, args.workdir, resume=args.resume, profile=profile)


def _settings_help() -> str:
    """Every setting with its default, what it may be and what it means."""
    lines = ["settings (--config.NAME=VALUE), with the defaults of configs/default.py:"]
    for setting in schema.declared():
        lines.append(f"  --config.{setting.name}={_typed(setting.default)}")
        about = setting.help
        if isinstance(setting.allowed, tuple):
            known = ", ".join(str(value) or "''" for value in setting.allowed)
            about = f"{about}; one of {known}"
        elif setting.allowed is not None:
            about = f"{about}; {setting.allowed}"
        lines += textwrap.wrap(about, 90, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def _typed(default: Any) -> str:
    """A default as one would type it."""
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "''"
    return str(default) if str(default) else "''"
