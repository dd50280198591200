"""metastyle blend STYLE:SHARE STYLE:SHARE ... --out=FILE"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli import style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.errors import UserError
from metastyle_jax.storage import home_folder, overwriting


def add_parser(commands: Any) -> None:
    """Add `blend` to the commands."""
    parser = add_command(commands, "blend", run)
    parser.add_argument("styles", nargs="+", metavar="STYLE", help=style_arguments.HELP)
    parser.add_argument(
        "--out", type=home_folder.expanded, required=True, help="style file, NAME.safetensors"
    )
    parser.add_argument("--init", help=style_arguments.INIT_HELP)


def run(args: argparse.Namespace) -> None:
    """Write a style between styles.

    Raises:
      UserError: there are fewer than two styles, they belong to different weights, or the file
        cannot be written.
    """
    styles = [style_arguments.parse(argument) for argument in args.styles]
    if len(styles) < 2:
        raise UserError("name two or more styles to blend")
    out = args.out
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: give --out a name that ends in .safetensors")
    overwriting.refuse_overwriting([out], [each.file for each in styles])
    stylizer = style_arguments.blended(styles, style_arguments.load_all(styles, args.init))
    stylizer.save(out, command=args.command_line)
    print(f"wrote {out}: {stylizer.record.name}")
