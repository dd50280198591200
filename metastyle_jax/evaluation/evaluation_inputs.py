"""Inputs of an evaluation: initializations, judges, pictures; all are loaded and checked first."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data.images import list_images, read_image
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import evaluation_settings, judging, lpips
from metastyle_jax.evaluation.evaluation_settings import EvaluationSettings
from metastyle_jax.evaluation.judging import Judge
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.settings import provenance
from metastyle_jax.storage import home_folder, initialization, overwriting

_LOG = logging.getLogger(__name__)

USUAL_JUDGE = "vgg16"


class Candidate(NamedTuple):
    """An initialization to evaluate.

    Attributes:
      name: short name, from its file or folder.
      init: where adaptation starts.
      objective, network: what adaptation minimizes: the objective of its training.
    """

    name: str
    init: initialization.Initialization
    objective: perceptual.Objective
    network: FeatureNetwork

    def kinds(self, starts: Sequence[str]) -> list[str]:
        """The starts of `EvaluationSettings.starts`, each once.

        Raises:
          UserError: it has no predictor, or a start is unknown.
        """
        return list(dict.fromkeys(starting_style.kind_of(self.init, start) for start in starts))

    def start(self, style_image: np.ndarray, kind: str) -> service.Start:
        """The start of an adaptation to a style image, "neutral" or "predicted"."""
        beginning = starting_style.stylizer_at_start(self.init, style_image, kind)
        return service.Start(beginning, self.objective, self.network)

    def method(self, kind: str, moves: str) -> str:
        """The name of an adaptation in tables: "embedded norm", "embedded predicted norm"."""
        parts = (self.name, moves) if self.init.predictor is None else (self.name, kind, moves)
        return " ".join(parts)


class Pictures(NamedTuple):
    """Square pictures.

    Attributes:
      names: of the files, without suffix.
      images: (N, size, size, 3) in [0, 1].
      files: that they were read from.
    """

    names: list[str]
    images: np.ndarray
    files: list[Path]


class EvaluationInputs(NamedTuple):
    """All inputs of an settings.

    Attributes:
      settings: of the settings.
      candidates: the initializations.
      judge: of all pictures.
      training_judge: a judge with the features that the first candidate was trained with. Another
        judge may see little of what these features saw.
      styles, contents: the pictures.
      compared: folders of pictures of other methods, by name of the method.
      out: folder for results.
    """

    settings: EvaluationSettings
    candidates: list[Candidate]
    judge: Judge
    training_judge: Judge
    styles: Pictures
    contents: Pictures
    compared: dict[str, Path]
    out: Path


def load(settings: EvaluationSettings, out: Path) -> EvaluationInputs:
    """Check the settings and read all files; nothing is written.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    evaluation_settings.check(settings)
    names = [_name(spec) for spec in settings.init]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--init names two initializations {name}: rename one")
    candidates = [_candidate(spec) for spec in settings.init]
    for candidate in candidates:
        candidate.kinds(settings.starts)  # refuses a start that there is not
    first = candidates[0]
    training_judge = Judge(_relative(first.objective), first.network)
    styles = squares(settings.styles, settings.style_count, settings.size, settings.scale)
    contents = squares(settings.contents, settings.content_count, settings.size, settings.scale)
    overwriting.refuse_inside(out, [*styles.files, *contents.files])
    compared = _compared(settings, styles.names, contents.names)
    overwriting.refuse_inside(out, compared.values())
    judge = _judge(settings, training_judge)._replace(lpips=_lpips(settings))
    return EvaluationInputs(
        settings, candidates, judge, training_judge, styles, contents, compared, out
    )


def squares(folder: str, count: int, size: int, scale: float = 1.0) -> Pictures:
    """Central squares of pictures of a folder, chosen at even distances.

    Args:
      folder: searched recursively.
      count: largest number of pictures.
      size: side in pixels.
      scale: see `EvaluationSettings`.

    Raises:
      UserError: the folder has no pictures, one cannot be read, or two have the same name.
    """
    files = list_images(folder, "folder")
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    names = [file.stem for file in files]
    for file in files:
        if names.count(file.stem) > 1:
            raise UserError(f"{folder} has two pictures {file.stem}: rename one")
    whole = round(size * scale)
    border = (whole - size) // 2
    cut = slice(border, border + size)
    images = [center_crop_resized(read_image(file), whole)[cut, cut] for file in files]
    return Pictures(names, np.stack(images), files)


def _judge(settings: EvaluationSettings, training_judge: Judge) -> Judge:
    if settings.features:
        return judging.relative(settings.features, settings.style_weight)
    if registry.at_hand(USUAL_JUDGE):
        return judging.relative(USUAL_JUDGE, settings.style_weight)
    _LOG.info(
        f"judging by {training_judge.network.spec}, the features of the training, because VGG-16 "
        f"is not installed: {registry.VGG_EXTRA}"
    )
    return training_judge


def _lpips(settings: EvaluationSettings) -> lpips.Weights | None:
    if settings.lpips == evaluation_settings.NO_LPIPS:
        return None
    if settings.lpips:
        return lpips.load(settings.lpips)
    return lpips.load(lpips.NETWORKS[0]) if lpips.at_hand(lpips.NETWORKS[0]) else None


def _name(spec: str) -> str:
    return Path(spec).stem


def _candidate(spec: str) -> Candidate:
    init = initialization.load(spec)
    objective = provenance.recorded_objective(init.settings)
    network = registry.load_recorded(init.settings, objective.layers)
    return Candidate(_name(spec), init, objective, network)


def _relative(objective: perceptual.Objective) -> perceptual.Objective:
    """Relative errors: absolute losses differ in size between networks and styles."""
    weight = objective.style_weight if objective.normalize else provenance.NORMALIZED.style_weight
    return dataclasses.replace(objective, normalize=True, style_weight=weight)


def _compared(
    settings: EvaluationSettings, styles: list[str], contents: list[str]
) -> dict[str, Path]:
    """Folders by name of the method; every picture is checked."""
    folders = {}
    for entry in settings.compared:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise UserError(f"--compare={entry} is no NAME=FOLDER: write magenta=runs/magenta")
        if name in folders:
            raise UserError(f"--compare names {name} twice: give each method another name")
        folders[name] = home_folder.expanded(folder)
        for style in styles:
            for content in contents:
                read_picture(folders[name], style, content, settings.size)
    return folders


def read_picture(folder: Path, style: str, content: str, size: int) -> np.ndarray:
    """`folder`/`style`/`content`.png, (size, size, 3) in [0, 1].

    Raises:
      UserError: the picture is missing, cannot be read, or has another size.
    """
    path = folder / style / f"{content}.png"
    image = read_image(path)
    if image.shape[:2] != (size, size):
        height, width = image.shape[:2]
        raise UserError(
            f"{path} has {width}x{height} pixels instead of {size}x{size}: make it from the "
            "squares that are judged"
        )
    return image
