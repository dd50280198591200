"""Style losses compared as pictures: the figures of "Demystifying Neural Style Transfer".

Reconstructions of a style, the balance gamma, a gallery of the methods, and fusions of two methods
(Li et al. 2017), from any pictures. Pictures of each method are also measured by the other methods.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.data.images import read_image
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.pixels import image_optimization
from metastyle_jax.reporting.records import Records, Row
from metastyle_jax.storage import home_folder, overwriting
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.studies.style_losses import (
    study_pictures,
    style_loss_settings,
    style_losses_report,
)
from metastyle_jax.studies.style_losses.study_pictures import PictureSetup
from metastyle_jax.studies.style_losses.style_loss_settings import LossStudy

FUSIONS = (("bn", "poly"), ("linear", "gaussian"))  # of the paper

Factors = Mapping[str, Sequence[float]]  # method -> style weight of each pair at gamma 1


def run(study: LossStudy, out: Path) -> None:
    """Make all pictures; write sheets, tables and `study.md` to `out`.

    A study that was stopped continues after the last complete row of pictures.

    Raises:
      UserError: a setting or a file cannot be used.
    """
    style_loss_settings.check(study)
    overwriting.refuse_inside(out, [*study.contents, *study.styles])
    setup = _set_up(study, home_folder.expanded(out))
    out = prepare_folder(out)
    described = dataclasses.asdict(study)
    del described["figures"]  # a folder may get more of them
    records = Records(out / "measurements.json", described, total=_count(study))

    def each_method(name: str, paint: Callable[..., list[Row]], *arguments: Any) -> list[Row]:
        return [
            row
            for method in study.methods
            for row in records.measure(
                f"{name}, {method}",
                lambda method=method: paint(study, setup, method, *arguments),
            )
        ]

    figures: dict[str, list[Row]] = {}
    tables: dict[str, list[Row]] = {}
    factors: Factors = {}
    if "reconstructions" in study.figures:
        figures["reconstructions"] = each_method("reconstructions", reconstruct)
    if set(study.figures) != {"reconstructions"}:
        balances = records.measure("balance", lambda: measure_balances(study, setup))
        factors = {row["method"]: row["factors"] for row in balances}
    if "gammas" in study.figures:
        figures["gammas"] = each_method("gammas", sweep_gamma, factors)
    if "gallery" in study.figures:
        figures["gallery"] = each_method("gallery", fill_gallery, factors)
        tables["balance"] = style_losses_report.by_pair(factors)
        tables["cross_loss"] = records.measure("cross-loss", lambda: judge_gallery(study, setup))
    if "fusions" in study.figures:
        figures["fusions"] = [
            row
            for pair in FUSIONS
            for row in records.measure(
                f"fusion of {' and '.join(pair)}",
                lambda pair=pair: fuse_two(study, setup, pair, factors),
            )
        ]
    style_losses_report.write(study, setup, out, figures, tables)


def _count(study: LossStudy) -> int:
    """How many records a run asks for."""
    methods = len(study.methods)
    each = {"reconstructions": methods, "gammas": methods, "gallery": methods + 1}
    each["fusions"] = len(FUSIONS)
    balances = set(study.figures) != {"reconstructions"}
    return sum(each[name] for name in study.figures) + balances


def measure_balances(study: LossStudy, setup: PictureSetup) -> list[Row]:
    """The style weight at which gradients are equal, of each method and pair."""
    methods = dict.fromkeys((*study.methods, *(name for pair in FUSIONS for name in pair)))
    return [
        {"method": method, "factors": study_pictures.balance(setup, method).tolist()}
        for method in methods
    ]


def reconstruct(study: LossStudy, setup: PictureSetup, method: str) -> list[Row]:
    """The first style alone from noise: from one layer, two layers ... all of them."""
    count = len(study.layers)
    # layer number k takes part in the pictures k, k + 1, ...
    weights = {layer: np.arange(count) >= k for k, layer in enumerate(study.layers)}
    noise = image_optimization.gaussian_noise(setup.contents[:1].shape, 0)
    names = [f"reconstruction_{_slug(method)}_{layer}" for layer in study.layers]
    return study_pictures.optimize_pictures(
        setup,
        method,
        names,
        pairs=[0] * count,
        start=np.repeat(noise, count, axis=0),
        contents=0.0,
        styles=weights,
    )


def sweep_gamma(study: LossStudy, setup: PictureSetup, method: str, factors: Factors) -> list[Row]:
    """The first pair from its content, for each gamma."""
    names = [f"gamma_{_slug(method)}_{gamma:g}" for gamma in study.gammas]
    weights = factors[method][0] * np.asarray(study.gammas)
    return _from_contents(setup, method, names, [0] * len(names), weights)


def fill_gallery(study: LossStudy, setup: PictureSetup, method: str, factors: Factors) -> list[Row]:
    """All pairs."""
    pairs = range(len(study.contents))
    names = [_gallery_name(method, pair) for pair in pairs]
    return _from_contents(setup, method, names, pairs, study.gamma * np.asarray(factors[method]))


def fuse_two(
    study: LossStudy, setup: PictureSetup, pair: tuple[str, str], factors: Factors
) -> list[Row]:
    """The first pair under weighted sums of two losses, each balanced on its own."""
    rows = []
    for share in study.shares:
        weights = (share * factors[pair[0]][0], (1 - share) * factors[pair[1]][0])
        method = " + ".join(
            f"{weight!r}*{name}" for weight, name in zip(weights, pair, strict=True)
        )
        names = [f"fusion_{'_'.join(pair)}_{share:g}"]
        (row,) = _from_contents(setup, method, names, [0], np.asarray([study.gamma]))
        rows.append({**row, "fusion": " : ".join(pair), "share": share})
    return rows


def _from_contents(
    setup: PictureSetup,
    method: str,
    names: Sequence[str],
    pairs: Sequence[int],
    weights: np.ndarray,
) -> list[Row]:
    start = setup.contents[list(pairs)]
    return study_pictures.optimize_pictures(
        setup, method, names, pairs=pairs, start=start, contents=1.0, styles=weights
    )


def judge_gallery(study: LossStudy, setup: PictureSetup) -> list[Row]:
    """The gallery of each method (rows), judged by each method (columns)."""
    rows = []
    for method in study.methods:
        names = [_gallery_name(method, pair) for pair in range(len(study.contents))]
        images = np.stack([read_image(setup.folder / f"{name}.png") for name in names])
        judged = {
            judge: study_pictures.relative_style_loss(setup, judge, images)
            for judge in study.methods
        }
        rows.append({"optimized for": method, **judged})
    return rows


def _gallery_name(method: str, pair: int) -> str:
    return f"gallery_{_slug(method)}_{pair}"


def _slug(method: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", method).strip("_")


def _set_up(study: LossStudy, out: Path) -> PictureSetup:
    objective = perceptual.Objective(
        content_layers=(study.content_layer,),
        style_layers=study.layers,
        style_weight=1.0,
        normalize=True,
    )
    contents, styles = (
        np.stack([center_crop_resized(read_image(path), study.size) for path in paths])
        for paths in (study.contents, study.styles)
    )
    network = registry.load(study.features, objective.layers, pooling=study.pooling)
    return PictureSetup(
        objective,
        network,
        contents,
        styles,
        steps=study.steps,
        learning_rate=study.learning_rate,
        folder=out / "images",
    )
