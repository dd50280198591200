"""metastyle grid STYLE... PICTURE --out=FILE"""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_jax.cli import style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files, picture_writer, resizing
from metastyle_jax.errors import UserError
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.settings import ranges
from metastyle_jax.storage import home_folder, overwriting
from metastyle_jax.stylization import interpolation, picture_files


def add_parser(commands: Any) -> None:
    """Add `grid` to the commands."""
    parser = add_command(commands, "grid", run)
    parser.add_argument("style", metavar="STYLE", help="one to four: " + style_arguments.HELP)
    parser.add_argument("picture", nargs="+", metavar="PICTURE", help="picture to draw, the last")
    parser.add_argument(
        "--out", type=home_folder.expanded, required=True, help="sheet to write, such as grid.png"
    )
    parser.add_argument("--init", help=style_arguments.INIT_HELP)
    parser.add_argument("--cells", type=int, default=5, help="pictures along a side, 2 to 12")
    parser.add_argument("--size", type=int, default=256, help="side of a cell, pixels")


def run(args: argparse.Namespace) -> None:
    """Draw a picture in styles and between them.

    Raises:
      UserError: a style or the picture cannot be used, or the file cannot be written.
    """
    ranges.check_flags(args, {"cells": ranges.Range(2, 12), "size": ranges.Range(32, 1024)})
    *further, name = args.picture
    styles = [style_arguments.parse(argument) for argument in (args.style, *further)]
    for each in styles:
        if each.share is not None:
            raise UserError(f"{each.spec}: a grid draws all shares; leave :{each.share:g} out")
    out, path = args.out, input_files.one_file(name)
    if not picture_writer.ending_of(out):
        endings = ", .".join(picture_writer.FORMATS)
        raise UserError(f"{out}: give --out a name that ends in .{endings}")
    overwriting.refuse_overwriting([out], [path, *(each.file for each in styles)])
    image = picture_files.read_content(path)
    short = args.size * min(image.shape[:2]) / max(image.shape[:2])
    image = resizing.resize_short_side(image, max(16, round(short)))
    stylizers = style_arguments.load_all(styles, args.init)
    rows = interpolation.grid(stylizers, image, args.cells)
    picture_writer.write_picture(out, contact_sheet(rows, cell=args.size))
    print(f"wrote {out}")
