"""python -m metastyle_jax stylize STYLE PICTURES --out=DIR [flags]"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from metastyle_jax.data import given
from metastyle_jax.errors import UserError
from metastyle_jax.settings import configuration, ranges
from metastyle_jax.storage import initialization, style_file, style_packs
from metastyle_jax.stylization import batch_run


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
    style = style_packs.resolve(args.style) if is_pack else given.one_file(args.style)
    params, recorded = load_adapted(style, args.init)
    noise = configuration.recorded_noise(recorded) if args.noise is None else args.noise
    ranges.FRACTION.check("--noise", noise)
    found = given.find_pictures(args.inputs, without=out)
    for note in found.notes:
        print(note, file=sys.stderr)
    outcome = batch_run.run(
        params,
        list(dict.fromkeys(found.files)),  # a file that is named twice is drawn once
        out,
        noise=noise,
        inputs=[style, *([Path(args.init)] if args.init else [])],
        redo=args.redo,
        say=functools.partial(print, flush=True),
    )
    outcome.check()


def load_adapted(path: Path, init_spec: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and style, and the settings of their adaptation.

    Args:
      path: a style or parameter file.
      init_spec: the weights that a style belongs to; None for those it was adapted from.

    Raises:
      UserError: a file is missing, damaged, or of another kind; or they do not belong together.
    """
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
