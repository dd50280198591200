"""metastyle study meta-gradients|losses|features|drawings|sliders|diversity --out=DIR ..."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metastyle_jax.cli import configuration_flags
from metastyle_jax.cli.parsers import Parser, add_command
from metastyle_jax.storage import folder_lock, home_folder
from metastyle_jax.studies.adjustable import diversity_study, slider_study
from metastyle_jax.studies.features import feature_drawings, feature_networks
from metastyle_jax.studies.meta_gradients import meta_gradient_study
from metastyle_jax.studies.style_losses import style_loss_settings, style_loss_study

META_GRADIENTS = {
    "init": "where gradients and curvature are measured: random, embedded, a workdir or a file",
    "estimators": "estimators whose gradients are compared",
    "inner_steps": "numbers of inner steps to compare them at",
    "batches": "batches to measure gradients on",
    "styles": "styles to measure curvature and rates on",
    "rates": "number of inner rates, from 1e-5 to the bound of stability",
    "trained": "estimators to train a network with",
    "train_steps": "outer steps of each training; 0 for no training",
    "adaptation_styles": "styles to adapt each trained network to; 0 for none",
    "adaptation_steps": "adaptation steps after which the loss is measured",
    "adaptation_contents": "contents that this loss is a mean over",
    "adaptation_rate": "learning rate of Adam in adaptation",
    "validation_content": "folder of contents for adaptation; default: those of the training",
    "validation_style": "folder of styles for adaptation; default: those of the training",
}

LOSSES = {
    "contents": "contents, separated by commas; the first one is used for the sweeps; required",
    "styles": "as many style images, one for each content; required",
    "features": "feature network: distilled, vgg16 or vgg16:FILE",
    "pooling": "pooling of the feature network: max or average",
    "methods": "style losses, such as gaussian(0.5), separated by commas",
    "layers": "style layers; reconstructions use the first one, the first two, and so on",
    "content_layer": "content layer of the figures with a content",
    "gammas": "values of gamma in the sweep, see metastyle optimize --help",
    "gamma": "gamma of the other figures",
    "shares": "weights of the first of two losses in a sum of both",
    "size": "side of the pictures, pixels",
    "steps": "steps of Adam on the pixels",
    "learning_rate": "learning rate of Adam",
    "figures": "figures to draw",
}

FEATURES = {
    "styles": "folder of artworks that nothing was trained on",
    "networks": "compact, distilled, vgg16, random-vgg16, separated by commas",
    "picture": "a picture whose style error each network measures, such as one with a weave",
    "style": "the style image that --picture was drawn in",
}

SLIDERS = {
    "model": "adjustable network: a workdir or a params file; required",
    "style": "style image that it was trained with; required",
    "contents": "folder of photographs that it was not trained with; required",
    "count": "contents, at most",
    "size": "side of the contents, pixels",
    "style_size": "short side of the style image, pixels",
    "weights": "values of the weight that rises from 0 to 1",
    "features": "feature network that measures; empty for that of the training",
}

DIVERSITY = {
    "model": "network: a workdir or a params file, with sliders or without; required",
    "style": "style image that it was trained with; required",
    "contents": "folder of photographs that it was not trained with; required",
    "noisy": "a network that was trained with config.model.style_noise, to compare with",
    "count": "contents, at most",
    "variations": "variations of each content",
    "size": "side of the contents, pixels",
    "style_size": "short side of the style image, pixels",
    "deviations": "standard deviations of the noise on the parameters of the style",
    "seed": "of all that is drawn",
    "features": "feature network of the losses; empty for that of the training",
}

DRAWINGS = {
    "contents": "contents, separated by commas; required",
    "styles": "style images, separated by commas; each content is drawn in each style; required",
    "networks": "distilled, compact, vgg16, vgg16:FILE, separated by commas",
    "judge": "feature network that judges all drawings",
    "style_weight": "style weight, with a content weight of 1",
    "size": "side of the pictures, pixels",
    "steps": "steps of Adam on the pixels",
    "learning_rate": "learning rate of Adam",
}


def add_parser(commands: Any) -> None:
    """Add `study` to the commands."""
    studies = add_command(commands, "study").add_subparsers(required=True, metavar="STUDY")
    parser = _add_study(
        studies,
        "meta-gradients",
        "compare estimators of the meta-gradient: cost, bias, training, adaptation; continues a "
        "stopped study",
        _meta_gradients,
        takes_config=True,
    )
    configuration_flags.add_settings(parser, meta_gradient_study.Study, META_GRADIENTS)
    for name, summary, module, study, texts in (
        (
            "losses",
            "draw style losses: reconstructions, balance, a table of pictures, sums of losses; "
            "continues a stopped study",
            style_loss_study,
            style_loss_settings.LossStudy,
            LOSSES,
        ),
        (
            "features",
            "measure how well feature networks tell artworks apart, and their cost",
            feature_networks,
            feature_networks.FeatureStudy,
            FEATURES,
        ),
        (
            "sliders",
            "measure whether a larger weight of a layer lowers its loss; continues a stopped study",
            slider_study,
            slider_study.SliderStudy,
            SLIDERS,
        ),
        (
            "diversity",
            "measure how much random variations of a drawing differ, and what they cost in style; "
            "continues a stopped study",
            diversity_study,
            diversity_study.DiversityStudy,
            DIVERSITY,
        ),
        (
            "drawings",
            "optimize pixels with several feature networks, scored by one judge",
            feature_drawings,
            feature_drawings.DrawingStudy,
            DRAWINGS,
        ),
    ):
        run = functools.partial(_run, module.run, study)
        parser = _add_study(studies, name, summary, run)
        configuration_flags.add_settings(parser, study, texts)


def _add_study(
    studies: Any,
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], None],
    *,
    takes_config: bool = False,
) -> Parser:
    parser = add_command(studies, name, run, summary=summary, takes_config=takes_config)
    parser.add_argument(
        "--out",
        type=home_folder.expanded,
        required=True,
        help="folder for everything written; required",
    )
    return parser


def _meta_gradients(args: argparse.Namespace) -> None:
    study = configuration_flags.settings_of(args, meta_gradient_study.Study)
    config, out = configuration_flags.parse_config(args.settings), args.out
    with folder_lock.locked(out):
        meta_gradient_study.run(config, study, out)


def _run(run: Callable[[Any, Path], None], study: type, args: argparse.Namespace) -> None:
    out = args.out
    with folder_lock.locked(out):
        run(configuration_flags.settings_of(args, study), out)
