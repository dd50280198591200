"""python -m metastyle_jax stylize STYLE PICTURES --out=DIR [flags]"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

from metastyle_jax.data import input_files
from metastyle_jax.settings import ranges
from metastyle_jax.storage import style_packs
from metastyle_jax.stylization import batch_run, loading


def add_parser(commands: Any) -> None:
    """Add `stylize` to the subparsers of `cli`."""
    parser = commands.add_parser(
        "stylize", help="apply an adapted style to pictures, each at its own size"
    )
    parser.add_argument(
        "style", help="style.safetensors, params.safetensors, or pack:NAME (see `packs`)"
    )
    parser.add_argument(
        "inputs", nargs="+", help="pictures, folders of pictures, patterns such as 'photos/*.jpg'"
    )
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
    parser.add_argument(
        "--redo",
        action="store_true",
        help="draw pictures again that are in --out already, made of the same file and style",
    )
    parser.set_defaults(run=run, takes_config=False)


def run(args: argparse.Namespace) -> None:
    """Stylise all pictures that can be read.

    Raises:
      PartialFailure: some pictures could not be done; the others are written.
      UserError: nothing could be done.
    """
    out = args.out.expanduser()
    is_pack = args.style.startswith(style_packs.PREFIX)
    style = style_packs.resolve(args.style) if is_pack else input_files.one_file(args.style)
    ranges.check_flags(args, {"noise": ranges.FRACTION})
    stylizer = loading.load(args.style if is_pack else style, init=args.init)
    if args.noise is not None:
        stylizer = dataclasses.replace(stylizer, input_noise=args.noise)
    found = input_files.find_pictures(args.inputs, without=out)
    for note in found.notes:
        print(note, file=sys.stderr)
    outcome = batch_run.run(
        stylizer,
        list(dict.fromkeys(found.files)),  # a file that is named twice is drawn once
        out,
        inputs=[style, *([Path(args.init)] if args.init else [])],
        redo=args.redo,
        say=functools.partial(print, flush=True),
    )
    outcome.check()
