"""The other commands: python -m metastyle_jax COMMAND ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metastyle_jax import (
    balance_command,
    command_line,
    compilation_cache,
    evaluate_command,
    initialization,
    optimize_command,
    plan_report,
    planning,
    settings,
    study_command,
    style_packs,
    stylization,
    train_features_command,
)
from metastyle_jax.atomic import prepare_folder
from metastyle_jax.data.images import list_images
from metastyle_jax.errors import UserError
from metastyle_jax.export import style_file


def main(argv: Sequence[str]) -> None:
    """Run a command; `argv` is without the program's name.

    Raises:
      UserError: a file or folder cannot be used.
      SystemExit: with code 2 for an unknown or malformed flag.
    """
    parser = argparse.ArgumentParser(prog="python -m metastyle_jax", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_stylize(commands)
    _add_packs(commands)
    _add_plan(commands)
    balance_command.add_parser(commands)
    evaluate_command.add_parser(commands)
    optimize_command.add_parser(commands)
    study_command.add_parser(commands)
    train_features_command.add_parser(commands)
    # a command with a configuration gets what argparse does not know: --config.name=value
    args, args.settings = parser.parse_known_args(argv)
    if args.settings and not args.takes_config:
        parser.error(f"unrecognized arguments: {' '.join(args.settings)}")
    compilation_cache.enable()
    args.run(args)


def _add_stylize(commands: Any) -> None:
    parser = commands.add_parser(
        "stylize", help="apply an adapted style to pictures, each at its own size"
    )
    parser.add_argument(
        "style", help="style.safetensors, params.safetensors, or pack:NAME (see `packs`)"
    )
    parser.add_argument("inputs", type=Path, nargs="+", help="pictures and folders of pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument(
        "--init", help="weights that the style belongs to; default: those it was adapted from"
    )
    parser.add_argument(
        "--noise",
        type=float,
        help="deviation of the noise on the pictures, in [0, 1], from which strokes grow where "
        "they are flat; default: what the style was adapted with; 0 for none",
    )
    parser.set_defaults(run=_stylize, takes_config=False)


def _stylize(args: argparse.Namespace) -> None:
    params, recorded = _load_adapted(style_packs.resolve(args.style), args.init)
    noise = settings.recorded_noise(recorded) if args.noise is None else args.noise
    settings.check_noise(noise, "--noise")
    inputs = [
        path
        for given in args.inputs
        for path in (list_images(given, "input folder") if given.is_dir() else [given])
    ]
    for path in inputs:
        stylization.read_content(path)  # a bad picture is reported before anything is written
    stylization.stylize_files(params, inputs, prepare_folder(args.out), noise=noise, done=print)


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
    limit = None if args.memory is None else plan_report.parse_size("--memory", args.memory)
    config = command_line.parse_config(args.settings)
    found = planning.plan(
        config,
        limit=limit,
        verify=args.verify,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(plan_report.render(found, config))


def _load_adapted(path: Path, init_spec: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and style, and the settings of their adaptation."""
    if style_file.format_of(path) == style_file.PARAMS_FORMAT:
        params, metadata = style_file.load_params(path)
        return params, metadata["settings"]
    _, metadata = style_file.load_style(path)
    recorded = metadata["settings"].get("init", initialization.EMBEDDED)
    wanted = metadata["weights_digest"]
    try:
        init = initialization.load(init_spec or recorded)
    except UserError as error:
        if init_spec:
            raise
        raise UserError(
            f"{path} was adapted from {recorded}, which cannot be loaded ({error}): give its "
            "weights with --init"
        ) from error
    # that training has gone on since: its checkpoint may still be there
    found = None if init.digest == wanted else initialization.of_weights(recorded, wanted)
    if found and not init_spec:
        init = initialization.load(found)
    if init.digest != wanted:
        remedy = f"give --init={found}" if found else "give these with --init, or adapt it again"
        raise UserError(
            f"{path} was made for other weights than those of {init.name}: it was adapted from "
            f"{recorded}, weights {wanted[:12]}; {remedy}"
        )
    style, _ = style_file.load_style(
        path,
        weights_digest=init.digest,
        weights_name=init.name,
        template=init.params["style"],
    )
    return {"weights": init.params["weights"], "style": style}, metadata["settings"]
