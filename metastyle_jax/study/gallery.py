"""What is judged, by whom and against what: the settings of an evaluation, checked and loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import feature_weights, initialization, objective, settings
from metastyle_jax.data.images import list_images, read_image
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import lpips
from metastyle_jax.study.judging import Judge, relative_objective

MOVES = ("norm", "all")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to evaluate, and against what.

    Attributes:
      init: what `initialization.load` takes, one or more; the bounds minimise the first one's
        objective.
      moves: what adaptation moves, "norm" and "all" or one of them.
      norm_rate, all_rate: of Adam in these.
      styles, contents: folders; pictures are taken at even distances, as central squares.
      training_contents: folder of the pictures to adapt on; empty for `contents`.
      features: feature network of the judge; empty for that of the training.
      style_weight: of the judge, if it has features of its own: so that trainings with different
        objectives meet one judge.
      lpips_network, lpips_heads: files of SqueezeNet 1.1 and of LPIPS v0.1; empty for none.
      style_count, content_count: how many are judged.
      bound_styles: how many styles are also trained from scratch and optimised pixel by pixel.
      size: side of all pictures in pixels.
      scale: pictures are crops after their short side was resized to this many times `size`, so
        that small ones show textures as large ones would.
      batch: contents per adaptation step.
      at: steps that adaptation is judged after.
      scratch_at: the same of the network trained from scratch.
      pixel_steps: of the optimisation of the pixels.
      pixel_contents: contents whose pixels are optimised.
    """

    init: tuple[str, ...] = (initialization.EMBEDDED,)
    moves: tuple[str, ...] = MOVES
    norm_rate: float = 1e-2
    all_rate: float = 3e-4
    styles: str = ""
    contents: str = ""
    training_contents: str = ""
    features: str = ""
    style_weight: float = 2.0
    lpips_network: str = ""
    lpips_heads: str = ""
    style_count: int = 6
    content_count: int = 12
    bound_styles: int = 3
    size: int = 192
    scale: float = 1.0
    batch: int = 1
    at: tuple[int, ...] = (0, 5, 10, 25, 50, 100, 200)
    scratch_at: tuple[int, ...] = (0, 100, 1000, 5000)
    pixel_steps: int = 300
    pixel_contents: int = 4

    def rate(self, moves: str) -> float:
        """Of Adam where "norm" or "all" moves."""
        return self.norm_rate if moves == "norm" else self.all_rate


class Candidate(NamedTuple):
    """An initialisation that is judged.

    Attributes:
      name: short, of its file or folder.
      init: where adaptation starts.
      goal, features: what it minimises: as in its training.
    """

    name: str
    init: initialization.Initialization
    goal: objective.Objective
    features: Any


class Gallery(NamedTuple):
    """All that the methods share.

    Attributes:
      evaluation: what was asked for.
      candidates: the initialisations.
      by: the judge.
      own: one with the features that the first candidate was trained with, the bounds' too: a
        strange judge may see little of what they learned.
      names: of the styles.
      styles, contents: (N, size, size, 3) in [0, 1].
      out: folder.
    """

    evaluation: Evaluation
    candidates: list[Candidate]
    by: Judge
    own: Judge
    names: list[str]
    styles: np.ndarray
    contents: np.ndarray
    out: Path


def load(evaluation: Evaluation, out: Path) -> Gallery:
    """Check the settings and read everything; nothing is written.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    _check(evaluation)
    candidates = [_candidate(spec) for spec in evaluation.init]
    named = [candidate.name for candidate in candidates]
    for name in named:
        if named.count(name) > 1:
            raise UserError(f"--init names two initialisations {name}: rename one")
    first = candidates[0]
    own = Judge(_relative(first.goal), first.features, None)
    heads = None
    if evaluation.lpips_network:
        heads = lpips.load(evaluation.lpips_network, evaluation.lpips_heads)
    names, styles = _squares(evaluation.styles, evaluation.style_count, evaluation)
    _, contents = _squares(evaluation.contents, evaluation.content_count, evaluation)
    by = own._replace(lpips=heads)
    if evaluation.features:
        judging = relative_objective(evaluation.features, evaluation.style_weight)
        by = Judge(*judging, heads)
    return Gallery(evaluation, candidates, by, own, names, styles, contents, out)


def _candidate(spec: str) -> Candidate:
    init = initialization.load(spec)
    goal = settings.recorded_objective(init.settings)
    _, features = feature_weights.load(_trained_with(init), goal.layers)
    return Candidate(Path(spec).stem, init, goal, jax.tree.map(jnp.asarray, features))


def _trained_with(init: initialization.Initialization) -> str:
    """The feature network of its training."""
    return init.settings.get("features.network", settings.NORMALIZED.architecture)


def _relative(goal: objective.Objective) -> objective.Objective:
    """The training's own; a raw loss has another size for every network and style."""
    weight = goal.style_weight if goal.normalize else settings.NORMALIZED.style_weight
    return dataclasses.replace(goal, normalize=True, style_weight=weight)


def _squares(folder: str, count: int, how: Evaluation) -> tuple[list[str], np.ndarray]:
    files = list_images(folder, "folder")
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    whole = round(how.size * how.scale)
    border = (whole - how.size) // 2
    cut = slice(border, border + how.size)
    images = [center_crop_resized(read_image(file), whole)[cut, cut] for file in files]
    return [file.stem for file in files], np.stack(images)


def _check(evaluation: Evaluation) -> None:
    for flag in ("styles", "contents"):
        if not getattr(evaluation, flag):
            raise UserError(f"--{flag} is missing: give a folder of pictures")
    if bool(evaluation.lpips_network) != bool(evaluation.lpips_heads):
        raise UserError("LPIPS needs two files: give both --lpips-network and --lpips-heads")
    for name in ("style_weight", "norm_rate", "all_rate"):
        value = getattr(evaluation, name)
        if not value > 0:
            raise UserError(f"--{name.replace('_', '-')}={value} must be positive")
    if not evaluation.moves or not set(evaluation.moves) <= set(MOVES):
        raise UserError(f"--moves={','.join(evaluation.moves)} is unknown: use norm, all or both")
    if not evaluation.init:
        raise UserError("--init is empty: name at least one initialisation")
    least = {"style_count": 1, "content_count": 1, "bound_styles": 0, "size": 32, "batch": 1}
    least |= {"pixel_steps": 1, "pixel_contents": 1, "scale": 1}
    for name, smallest in least.items():
        value = getattr(evaluation, name)
        if value < smallest:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}={value} is too small: use {smallest} or more")
    for name in ("at", "scratch_at"):
        steps = getattr(evaluation, name)
        if not steps or max(steps) < 1 or min(steps) < 0:
            raise UserError(f"--{name.replace('_', '-')} needs steps such as 0,50,100")
