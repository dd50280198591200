"""python -m metastyle_jax study meta-gradients|losses|features|drawings --out=DIR ..."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.storage import folder_lock
from metastyle_jax.studies.features import feature_drawings, feature_networks
from metastyle_jax.studies.meta_gradients import meta_gradient_study
from metastyle_jax.studies.style_losses import style_loss_study

META_GRADIENTS = {
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

LOSSES = {
    "contents": "pictures, with commas; the first one is that of the sweeps",
    "styles": "as many pictures, in pairs with the contents",
    "features": "compact, vgg16 or vgg16:FILE (and vgg19)",
    "pooling": "of the feature network: max or average",
    "methods": "style losses, such as gaussian(0.5)",
    "layers": "of the style; reconstructions take the first, the first two, ...",
    "content_layer": "of the figures with a content",
    "gammas": "of the sweep over the balance of style and content",
    "gamma": "of the other figures",
    "shares": "of the first of two losses in a fusion",
    "size": "side of the pictures, pixels",
    "steps": "of Adam on the pixels",
    "learning_rate": "of Adam",
    "figures": "which figures to paint",
}

FEATURES = {
    "styles": "folder of artworks that nothing was trained on",
    "networks": "compact, vgg16, squeezenet:FILE, cd16x:FILE, random-vgg16, with commas",
}

DRAWINGS = {
    "contents": "pictures, with commas",
    "styles": "pictures, with commas; every content is drawn in each",
    "networks": "compact, compact:FILE, vgg16, vgg16:FILE, with commas",
    "judge": "feature network that judges all of them",
    "style_weight": "of all of them, against a content weight of 1",
    "size": "side of the pictures, pixels",
    "steps": "of Adam on the pixels",
    "learning_rate": "of Adam",
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
    configuration_flags.add_settings(one, meta_gradient_study.Study, META_GRADIENTS)
    one.set_defaults(run=_meta_gradients, takes_config=True)
    for name, text, module, study, texts in (
        (
            "losses",
            "losses as pictures: reconstructions, balance, gallery, fusions; goes on if stopped",
            style_loss_study,
            style_loss_study.LossStudy,
            LOSSES,
        ),
        (
            "features",
            "feature networks: how well they tell artworks apart, and their cost",
            feature_networks,
            feature_networks.FeatureStudy,
            FEATURES,
        ),
        (
            "drawings",
            "feature networks: pixels optimised with each, before one judge",
            feature_drawings,
            feature_drawings.DrawingStudy,
            DRAWINGS,
        ),
    ):
        parser = studies.add_parser(
            name,
            help=text,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("--out", type=Path, required=True, help="folder; gets what is written")
        configuration_flags.add_settings(parser, study, texts)
        parser.set_defaults(run=functools.partial(_run, module.run, study), takes_config=False)


def _meta_gradients(args: argparse.Namespace) -> None:
    study = configuration_flags.settings_of(args, meta_gradient_study.Study)
    config, out = configuration_flags.parse_config(args.settings), args.out.expanduser()
    with folder_lock.locked(out):
        meta_gradient_study.run(config, study, out)


def _run(run: Callable[[Any, Path], None], study: type, args: argparse.Namespace) -> None:
    out = args.out.expanduser()
    with folder_lock.locked(out):
        run(configuration_flags.settings_of(args, study), out)
