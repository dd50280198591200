"""metastyle export [STYLE ...] --format=FORMAT --out=PATH [flags]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from metastyle_jax.cli import drawing_flags, style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import input_files
from metastyle_jax.errors import UserError
from metastyle_jax.export import comparison, exporting, web_runtime
from metastyle_jax.export.exporting import WEB, Exported
from metastyle_jax.storage import home_folder, style_packs
from metastyle_jax.storage.atomic import check_name
from metastyle_jax.stylization import loading, sliders


def add_parser(commands: Any) -> None:
    """Add `export` to the commands."""
    parser = add_command(commands, "export", run)
    parser.add_argument(
        "styles",
        nargs="*",
        metavar="STYLE",
        help="style.safetensors, params.safetensors, pack:NAME (see metastyle packs), or a "
        "workdir of metastyle train; one, but for web several, or none for all packs",
    )
    parser.add_argument(
        "--format",
        required=True,
        help=f"one of {', '.join((*exporting.FORMATS, WEB))}; see docs/export.md",
    )
    parser.add_argument(
        "--out",
        type=home_folder.expanded,
        required=True,
        help="file, or for stablehlo, orbax, web a new folder",
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
    drawing_flags.add_alpha(parser)
    parser.add_argument("--init", help=style_arguments.INIT_HELP)
    parser.add_argument(
        "--runtime",
        type=home_folder.expanded,
        metavar="FILE",
        help=f"package of onnxruntime-web for web, from npm pack onnxruntime-web@"
        f"{web_runtime.VERSION}; default: it is downloaded, and kept in the cache folder",
    )


def run(args: argparse.Namespace) -> None:
    """Write the file, compare it with `stylize`, and print what differs.

    Raises:
      UserError: see `exporting.export_stylizer` and `web_page.export_page`; a style that cannot be
        loaded; flags that do not belong together.
    """
    check_name(args.out)  # before anything is loaded
    if args.format == WEB:
        print("\n".join(_lines(_export_page(args), None)))
        return
    if args.format in exporting.FORMATS and len(args.styles) != 1:
        counted = f"{len(args.styles)} are" if args.styles else "none is"
        raise UserError(
            f"{args.format} holds one style, and {counted} named: name one, or use --format={WEB}"
        )
    if args.runtime:
        raise UserError(f"--runtime is for --format={WEB}: leave it out")
    # before anything is loaded
    exporting.check(args.format, args.style_input, args.quantize)
    alpha = None if args.alpha is None else sliders.parse("--alpha", args.alpha)
    name = _existing(args.styles[0])
    stylizer = loading.load(name, init=args.init)
    if alpha is not None:
        stylizer = stylizer.at(alpha)
    exported = exporting.export_stylizer(
        stylizer,
        args.out,
        args.format,
        style_input=args.style_input,
        quantize=args.quantize,
        inputs=[style_packs.resolve(name), *([Path(args.init)] if args.init else [])],
    )
    print("\n".join(_lines(exported, args.quantize)))


def _existing(style: str) -> str:
    """The pack or the only file that an argument names."""
    is_pack = style.startswith(style_packs.PREFIX)
    return style if is_pack else str(input_files.one_file(style))


def _export_page(args: argparse.Namespace) -> Exported:
    if args.style_input or args.quantize:
        flag = "--style-input" if args.style_input else "--quantize"
        raise UserError(
            f"{flag} is not for --format={WEB}: the style is always an input, the kernels float16"
        )
    if args.alpha:
        raise UserError(
            f"--alpha is not for --format={WEB}, whose styles have all weights at 1: leave it out"
        )
    from metastyle_jax.export import web_page

    styles = [_existing(style) for style in args.styles]
    return web_page.export_page(args.out, styles, init=args.init, runtime=args.runtime)


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
