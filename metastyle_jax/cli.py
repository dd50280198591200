"""The other commands: python -m metastyle_jax COMMAND ..."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metastyle_jax import initialization, stylization
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
    args = parser.parse_args(argv)
    args.run(args)


def _add_stylize(commands: Any) -> None:
    parser = commands.add_parser(
        "stylize", help="apply an adapted style to pictures, each at its own size"
    )
    parser.add_argument("style", type=Path, help="style.safetensors or params.safetensors")
    parser.add_argument("inputs", type=Path, nargs="+", help="pictures and folders of pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument(
        "--init", help="weights that the style belongs to; default: those it was adapted from"
    )
    parser.set_defaults(run=_stylize)


def _stylize(args: argparse.Namespace) -> None:
    params = _load_adapted(args.style, args.init)
    inputs = [
        path
        for given in args.inputs
        for path in (list_images(given, "input folder") if given.is_dir() else [given])
    ]
    for path in inputs:
        stylization.read_content(path)  # a bad picture is reported before anything is written
    stylization.stylize_files(params, inputs, prepare_folder(args.out), done=print)


def _load_adapted(path: Path, init_spec: str | None) -> dict[str, Any]:
    if style_file.format_of(path) == style_file.PARAMS_FORMAT:
        return style_file.load_params(path)[0]
    _, metadata = style_file.load_style(path)
    recorded = metadata["settings"].get("init", initialization.EMBEDDED)
    try:
        init = initialization.load(init_spec or recorded)
    except UserError as error:
        if init_spec:
            raise
        raise UserError(
            f"{path} was adapted from {recorded}, which cannot be loaded ({error}): give its "
            "weights with --init"
        ) from error
    style, _ = style_file.load_style(
        path,
        weights_digest=init.digest,
        weights_name=init.name,
        template=init.params["style"],
    )
    return {"weights": init.params["weights"], "style": style}
