"""metastyle export STYLE --format=FORMAT --out=PATH [flags]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files
from metastyle_jax.export import comparison, exporting
from metastyle_jax.export.exporting import Exported
from metastyle_jax.storage import style_packs
from metastyle_jax.stylization import loading


def add_parser(commands: Any) -> None:
    """Add `export` to the commands."""
    parser = add_command(commands, "export", run)
    parser.add_argument(
        "style",
        help="style.safetensors, params.safetensors, pack:NAME (see metastyle packs), or a "
        "workdir of metastyle train",
    )
    parser.add_argument(
        "--format", required=True, help=f"one of {', '.join(exporting.FORMATS)}; see docs/export.md"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="file, or for stablehlo and orbax a new folder"
    )
    parser.add_argument(
        "--style-input",
        action="store_true",
        help="make the style an input of the graph, so that one file serves all styles of these "
        "weights (onnx, stablehlo)",
    )
    parser.add_argument(
        "--quantize", help="store kernels as float16 or int8; the arithmetic stays float32"
    )
    parser.add_argument(
        "--init", help="weights that the style was adapted from; default: those that it names"
    )


def run(args: argparse.Namespace) -> None:
    """Write the file, compare it with `stylize`, and print what differs.

    Raises:
      UserError: see `exporting.export_stylizer`; a style that cannot be loaded.
    """
    exporting.check(args.format, args.style_input, args.quantize)  # before anything is loaded
    is_pack = args.style.startswith(style_packs.PREFIX)
    style = style_packs.resolve(args.style) if is_pack else input_files.one_file(args.style)
    stylizer = loading.load(args.style if is_pack else style, init=args.init)
    exported = exporting.export_stylizer(
        stylizer,
        args.out,
        args.format,
        style_input=args.style_input,
        quantize=args.quantize,
        inputs=[style, *([Path(args.init)] if args.init else [])],
    )
    print("\n".join(_lines(exported, args.quantize)))


def _lines(exported: Exported, quantize: str | None) -> list[str]:
    differences = exported.differences
    sizes = ", ".join(f"{width}x{height}" for height, width in comparison.SIZES)
    lines = [
        f"{exported.path}: {exported.size / 1e6:.2f} MB",
        f"largest difference from stylize at {sizes}: {differences.largest:.1e} (of 1)",
    ]
    if quantize:
        lines.append(
            f"{quantize} kernels change the pictures by {differences.mean_by_rounding:.1e} on "
            f"average, at most {differences.largest_by_rounding:.1e} (of 1)"
        )
    return [*lines, *exported.notes]
