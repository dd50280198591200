"""One style of help and of mistakes for all commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from metastyle_jax.errors import UserError

# name of each command and what it does, in the order of the help
SUMMARIES = {
    "stylize": "apply a style to pictures, each at its own size",
    "video": "apply a style to a film, without flicker, with its sound",
    "export": "write a style for other programs: onnx, stablehlo, torch, and arrays",
    "blend": "write a style between styles",
    "grid": "draw a picture in one to four styles and between them, as one sheet",
    "inspect": "say what a file is, and whether it is whole",
    "studio": "open a local page: adapt, blend, paint regions, move sliders, save the result",
    "serve": "answer requests over HTTP: a picture in, a stylized picture out",
    "doctor": "say what is installed, whether the shipped files are whole, and draw a picture",
    "packs": "list the styles that ship with the package",
    "adapt": "adapt the network to one style image, and stylize pictures with it",
    "train": "meta-train a stylization network",
    "prepare": "write a folder of pictures as a data set of a few large files, for clusters",
    "report": "write a page about a training: curves, sheets, settings",
    "plan": "estimate the memory of training, and the largest batch that fits",
    "balance": "find the style weight of each loss at which content and style gradients are equal",
    "evaluate": "score a start against training from scratch, pixel optimization and other methods",
    "optimize": "stylize by optimizing the pixels (Gatys et al. 2016), under any style loss",
    "study": "measure and compare; writes CSV, Markdown and PNG files",
    "train-features": "train the small feature network that stands in for VGG-16",
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Adds defaults to the help of flags that have one and do not name it themselves."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        nothing = action.default in (None, argparse.SUPPRESS, "", False)
        if nothing or action.required or "default" in text or not action.option_strings:
            return text
        return f"{text} (default: %(default)s)" if text else "default: %(default)s"


class Parser(argparse.ArgumentParser):
    """Reports a mistake as a `UserError`: one sentence and exit code 2, as all other mistakes."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **keywords)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], Any] | None = None,
    *,
    summary: str = "",
    takes_config: bool = False,
) -> Parser:
    """Add a command with its summary as help and description.

    Args:
      commands: subparsers of a `Parser`.
      name: of the command.
      run: what does it.
      summary: default: the one in `SUMMARIES`.
      takes_config: whether it reads `--config=FILE` and `--config.NAME=VALUE`.
    """
    summary = summary or SUMMARIES[name]
    parser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    if takes_config:
        parser.add_argument(
            "--config",
            metavar="FILE",
            help="configuration, such as configs/default.py; required. --config.NAME=VALUE changes "
            "one of its settings",
        )
    parser.set_defaults(run=run, takes_config=takes_config)
    return parser
