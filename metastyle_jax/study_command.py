"""python -m metastyle_jax study meta-gradients --config=FILE --out=DIR [--config.NAME=VALUE ...]"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from metastyle_jax import command_line
from metastyle_jax.study import meta_gradients

HELP = {
    "init": "where gradients and curvature are measured: random, embedded, a workdir or a file",
    "estimators": "whose gradients are compared",
    "inner_steps": "numbers T of inner steps that they are compared at",
    "batches": "that gradients are measured on",
    "styles": "that curvature and rates are measured on",
    "rates": "inner rates, from 1e-5 to the bound of stability",
    "trained": "estimators that a training is run with",
    "train_steps": "outer steps of each training; 0 for none",
    "adaptation_styles": "that each trained network is adapted to; 0 for none",
    "adaptation_steps": "after which the loss is measured",
    "adaptation_contents": "that this loss is a mean over",
    "adaptation_rate": "of Adam on the style's parameters",
    "validation_content": "images for adaptation (folder); default: those of the training",
    "validation_style": "the same for styles",
}


def add_parser(commands: Any) -> None:
    """Add `study` to the subparsers of `cli`."""
    parser = commands.add_parser("study", help="measure and compare; writes CSV, Markdown and PNG")
    studies = parser.add_subparsers(required=True, metavar="STUDY")
    one = studies.add_parser(
        "meta-gradients",
        help="estimators of the meta-gradient: cost, bias, curvature, training, adaptation",
        usage="%(prog)s --config=FILE --out=DIR [--config.NAME=VALUE ...] [flags]",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    one.add_argument("--out", type=Path, required=True, help="folder; a stopped study goes on")
    for field in dataclasses.fields(meta_gradients.Study):
        one.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_parser_of(field.default),
            default=_as_typed(field.default),
            help=HELP[field.name],
        )
    one.set_defaults(run=_meta_gradients, takes_config=True)


def _as_typed(default: Any) -> Any:
    """A default as one would type it, for the help; argparse reads it like what is typed."""
    return ",".join(map(str, default)) if isinstance(default, tuple) else default


def _parser_of(default: Any) -> Any:
    """How to read a flag: as its default's type; a tuple from a list with commas."""
    if not isinstance(default, tuple):
        return type(default)
    item = type(default[0])

    def values(text: str) -> tuple:
        return tuple(item(part) for part in text.split(",") if part)

    values.__name__ = f"{item.__name__} list"  # argparse names it in its message
    return values


def _meta_gradients(args: argparse.Namespace) -> None:
    names = [field.name for field in dataclasses.fields(meta_gradients.Study)]
    study = meta_gradients.Study(**{name: getattr(args, name) for name in names})
    meta_gradients.run(command_line.parse_config(args.settings), study, args.out)
