"""Second-order against first-order meta-gradients: gradients, curvature, training, adaptation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from metastyle_jax import bilevel
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import subsets
from metastyle_jax.reporting import plots
from metastyle_jax.reporting.records import Records, Row
from metastyle_jax.settings import configuration, construction, ranges, schema
from metastyle_jax.settings.schema import Settings
from metastyle_jax.storage.atomic import prepare_folder
from metastyle_jax.studies.meta_gradients import curvature, gradients, report, training_curves
from metastyle_jax.studies.meta_gradients.measurement_point import RANDOM, load_point, variant


@dataclasses.dataclass(frozen=True)
class Study:
    """Settings of the study, in addition to the configuration.

    Attributes:
      init: where gradients and curvature are measured: "random", a new network, or what
        `initialization.load` takes.
      estimators: names of `bilevel.ESTIMATORS` whose gradients are compared.
      inner_steps: the numbers T of inner steps that they are compared at.
      batches: how many batches gradients are measured on.
      styles: for curvature and rates.
      rates: how many inner rates, from 1e-5 to the bound of stability.
      trained: estimators that a training is run with, each from the random start.
      train_steps: outer steps of these trainings; 0 for none.
      adaptation_styles: styles that each trained network is adapted to; 0 for none.
      adaptation_steps: after which the loss is measured.
      adaptation_contents: that the loss after adaptation is a mean over.
      adaptation_rate: of Adam on the style's parameters.
      validation_content, validation_style: sources for adaptation; empty for those of the training.
    """

    init: str = "random"
    estimators: tuple[str, ...] = tuple(bilevel.ESTIMATORS)
    inner_steps: tuple[int, ...] = (1, 3)
    batches: int = 4
    styles: int = 4
    rates: int = 13
    trained: tuple[str, ...] = ("exact", "first_order", "hessian_only", "mixed_only", "reptile")
    train_steps: int = 200
    adaptation_styles: int = 2
    adaptation_steps: tuple[int, ...] = (0, 10, 50, 100, 200)
    adaptation_contents: int = 8
    adaptation_rate: float = 1e-2
    validation_content: str = ""
    validation_style: str = ""


def run(config: ml_collections.ConfigDict | Settings, study: Study, out: Path) -> None:
    """Measure and write `out`: `study.md`, CSV files, plots, and `measurements.json`.

    A study that was stopped continues after the last complete measurement. Gradients are of the
    weights and of one style, where every inner loop starts: a configuration with a predictor, an
    adjuster or moving averages is refused.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    config = configuration.read(config)
    _check(config, study)
    plots.require_matplotlib()
    out = prepare_folder(out)
    entries = len(study.inner_steps) + 1 + study.styles
    entries += len(study.trained) * (1 + study.adaptation_styles) if study.train_steps else 0
    described = {**schema.flatten(config), **dataclasses.asdict(study)}
    records = Records(out / "measurements.json", described, total=entries)
    tables = {
        "gradients": _gradients(config, study, records),
        **_curvature(config, study, records),
        **_trainings(config, study, records, out),
    }
    report.write(out, tables, config, study)


_RANGES = {
    "inner_steps": ranges.count(),
    "batches": ranges.count(),
    "styles": ranges.count(),
    "rates": ranges.count(2),
    "train_steps": ranges.count(0),
    "adaptation_styles": ranges.count(0),
    "adaptation_steps": ranges.count(0),
    "adaptation_contents": ranges.count(),
    "adaptation_rate": ranges.RATE,
}


def _check(config: Settings, study: Study) -> None:
    for name in (*study.estimators, *study.trained):
        if name not in bilevel.ESTIMATORS:
            known = ", ".join(bilevel.ESTIMATORS)
            raise UserError(f"{name!r} is no estimator: use some of {known}")
    ranges.check_flags(study, _RANGES)
    if not study.inner_steps:
        raise UserError("--inner-steps needs one or more positive numbers, such as 1,3")
    if not study.adaptation_steps or max(study.adaptation_steps) < 1:
        raise UserError("--adaptation-steps needs a positive number, such as 0,50,200")
    _check_what_is_measured(config, study.init)
    for name in study.estimators:
        for steps in study.inner_steps:
            changes = {"outer.estimator": name, "inner.steps": steps}
            _check_variant(f"--estimators={name}", config, changes)
    if study.train_steps:
        _check_trainings(config, study)


# what `load_point` knows nothing of: a gradient without it is that of another problem
_NOT_MEASURED = ("model.predictor", "model.adjuster", "objective.average_decay")


def _check_what_is_measured(config: Settings, init: str) -> None:
    """Refuse a configuration whose gradients would be those of another problem."""
    flat = schema.flatten(config)
    if given := [name for name in _NOT_MEASURED if flat[name]]:
        raise UserError(
            "the study measures gradients of the weights and of one style, where every inner loop "
            f"starts: set {' '.join(f'--config.{name}=0' for name in given)}"
        )
    if config.model.init and init == RANDOM:
        raise UserError(
            f"config.model.init={config.model.init!r} starts trainings where the study does not "
            f"measure: give --init={config.model.init} too, or set --config.model.init="
        )
    shapes = jax.eval_shape(lambda: construction.init_network(config, jax.random.key(0)))
    try:
        subsets.split(dict(shapes), config.outer.subset)
    except ValueError as error:
        raise UserError(
            f"config.outer.subset names more than the study measures, weights and style: {error}"
        ) from error


def _check_trainings(config: Settings, study: Study) -> None:
    """Refuse now what trainings and adaptations would refuse after the other measurements."""
    if not study.trained:
        raise UserError(
            "--trained is empty: name an estimator, such as exact, or use --train-steps=0 for no "
            "training"
        )
    for name in study.trained:
        _check_variant(f"--trained={name}", config, {"outer.estimator": name})
    if study.adaptation_styles:
        validation = _validation(config, study)
        for kind in ("content", "style"):
            training_curves.center_crops(validation, kind, 1)  # refuses what cannot be read


def _check_variant(flag: str, config: Settings, changes: dict[str, Any]) -> None:
    try:
        variant(config, **changes)
    except UserError as error:
        raise UserError(f"{flag}: {error}") from error


def _gradients(config: Settings, study: Study, records: Records) -> list[Row]:
    def measure(steps: int) -> list[Row]:
        point = load_point(config, study.init, batches=study.batches)
        return gradients.compare_estimators(config, point, study.estimators, steps)

    return _chain(
        records.measure(f"gradients, T = {steps}", lambda steps=steps: measure(steps))
        for steps in study.inner_steps
    )


def _curvature(config: Settings, study: Study, records: Records) -> dict[str, list[Row]]:
    point = load_point(config, study.init, batches=study.styles, styles=1)
    spectrum = records.measure("inner Hessian", lambda: curvature.inner_spectrum(config, point))
    sweep = curvature.RateSweep(config)
    rates = _chain(
        records.measure(
            f"inner rates, style {row['style']}",
            lambda batch=batch, row=row: sweep.measure(point, batch, row, study.rates),
        )
        for batch, row in zip(point.batches, spectrum, strict=True)
    )
    return {"curvature": spectrum, "rates": rates}


def _trainings(config: Settings, study: Study, records: Records, out: Path) -> dict[str, list[Row]]:
    if not study.train_steps:
        return {}
    training, adaptation = [], []
    for name in study.trained:
        workdir = out / "trainings" / name
        training += records.measure(
            f"training with {name}",
            lambda name=name, workdir=workdir: training_curves.train(
                config, name, study.train_steps, workdir
            ),
        )
        adaptation += _adaptations(config, study, records, name, workdir)
    return {"training": training, **({"adaptation": adaptation} if adaptation else {})}


def _adaptations(
    config: Settings, study: Study, records: Records, name: str, workdir: Path
) -> list[Row]:
    if not study.adaptation_styles:
        return []
    validation = _validation(config, study)
    styles = training_curves.center_crops(validation, "style", study.adaptation_styles)
    contents = training_curves.center_crops(validation, "content", study.adaptation_contents)

    def measure(number: int, style: np.ndarray) -> list[Row]:
        losses = training_curves.adapt(
            config,
            str(workdir),
            style=style,
            contents=contents,
            at=study.adaptation_steps,
            learning_rate=study.adaptation_rate,
        )
        return [
            {"estimator": name, "style": number, "step": step, "loss": loss}
            for step, loss in losses
        ]

    return _chain(
        records.measure(
            f"adaptation from {name}, style {number}",
            lambda number=number, style=style: measure(number, style),
        )
        for number, style in enumerate(styles)
    )


def _validation(config: Settings, study: Study) -> Settings:
    """The settings with the sources for adaptation."""
    return variant(
        config,
        **{
            "data.content": study.validation_content or config.data.content,
            "data.style": study.validation_style or config.data.style,
        },
    )


def _chain(lists) -> list[Row]:
    return [row for rows in lists for row in rows]
