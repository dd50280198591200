"""What is judged, by whom and against what: the settings of an evaluation, checked and loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metastyle_jax.adaptation import service
from metastyle_jax.data.images import list_images, read_image
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import judging, lpips
from metastyle_jax.evaluation.judging import Judge
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.settings import provenance, ranges
from metastyle_jax.storage import initialization, overwriting
from metastyle_jax.stylization import stylizer

MOVES = ("norm", "all")
USUAL_JUDGE = "vgg16"
NO_LPIPS = "none"
# counts of pairs and sizes that published tables use; the pictures are the user's
PRESETS = {"published": {"style_count": 40, "content_count": 20, "size": 512}}


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
      compare: "NAME=FOLDER" each: pictures of other methods, `FOLDER/STYLE/CONTENT.png`.
      features: feature network of the judge; empty for VGG-16 where it is at hand, else that of the
        training.
      style_weight: of the judge, if it has features of its own: so that trainings with different
        objectives meet one judge.
      lpips: network of LPIPS, "alexnet" or "vgg16"; "none" for no LPIPS; empty for "alexnet" where
        it is at hand.
      preset: a key of `PRESETS`, whose numbers take the place of defaults; empty for none.
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
      blind: seed of the blind sheet, which shows methods in random order; -1 for none.
      blind_pairs: pairs on it, drawn at random.
    """

    init: tuple[str, ...] = (initialization.EMBEDDED,)
    moves: tuple[str, ...] = MOVES
    norm_rate: float = 1e-2
    all_rate: float = 3e-4
    styles: str = ""
    contents: str = ""
    training_contents: str = ""
    compare: tuple[str, ...] = ("",)
    features: str = ""
    style_weight: float = 2.0
    lpips: str = ""
    preset: str = ""
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
    blind: int = -1
    blind_pairs: int = 40

    def rate(self, moves: str) -> float:
        """Of Adam where "norm" or "all" moves."""
        return self.norm_rate if moves == "norm" else self.all_rate

    @property
    def compared(self) -> tuple[str, ...]:
        """`compare` without empty entries."""
        return tuple(entry for entry in self.compare if entry)


class Candidate(NamedTuple):
    """An initialisation that is judged.

    Attributes:
      name: short, of its file or folder.
      init: where adaptation starts.
      objective, network: what it minimises: as in its training.
    """

    name: str
    init: initialization.Initialization
    objective: perceptual.Objective
    network: FeatureNetwork

    @property
    def start(self) -> service.Start:
        """The same, as an adaptation takes it."""
        beginning = stylizer.from_initialization(self.init)
        return service.Start(beginning, self.objective, self.network)


class Pictures(NamedTuple):
    """Squares (N, size, size, 3) in [0, 1], their files, and the names of these without endings."""

    names: list[str]
    images: np.ndarray
    files: list[Path]


class Gallery(NamedTuple):
    """All that the methods share.

    Attributes:
      evaluation: what was asked for.
      candidates: the initialisations.
      by: the judge.
      own: one with the features that the first candidate was trained with, the bounds' too: a
        strange judge may see little of what they learned.
      styles, contents: what is judged.
      compared: folders of other methods' pictures, by name.
      out: folder.
    """

    evaluation: Evaluation
    candidates: list[Candidate]
    by: Judge
    own: Judge
    styles: Pictures
    contents: Pictures
    compared: dict[str, Path]
    out: Path


def load(evaluation: Evaluation, out: Path) -> Gallery:
    """Check the settings and read everything; nothing is written.

    Raises:
      UserError: a setting, a folder or a file cannot be used.
    """
    evaluation = with_preset(evaluation)
    _check(evaluation)
    candidates = [_candidate(spec) for spec in evaluation.init]
    named = [candidate.name for candidate in candidates]
    for name in named:
        if named.count(name) > 1:
            raise UserError(f"--init names two initialisations {name}: rename one")
    first = candidates[0]
    own = Judge(_relative(first.objective), first.network)
    styles = squares(evaluation.styles, evaluation.style_count, evaluation.size, evaluation.scale)
    contents = squares(
        evaluation.contents, evaluation.content_count, evaluation.size, evaluation.scale
    )
    overwriting.refuse_inside(out, [*styles.files, *contents.files])
    compared = _compared(evaluation, styles.names, contents.names)
    overwriting.refuse_inside(out, compared.values())
    by = _judge(evaluation, own)._replace(lpips=_lpips(evaluation))
    return Gallery(evaluation, candidates, by, own, styles, contents, compared, out)


def with_preset(evaluation: Evaluation) -> Evaluation:
    """The numbers of the preset in the place of defaults; what was set otherwise stays.

    Raises:
      UserError: an unknown preset.
    """
    if not evaluation.preset:
        return evaluation
    if evaluation.preset not in PRESETS:
        raise UserError(f"--preset={evaluation.preset} is unknown: use {', '.join(PRESETS)}")
    defaults = {field.name: field.default for field in dataclasses.fields(Evaluation)}
    changes = {
        name: value
        for name, value in PRESETS[evaluation.preset].items()
        if getattr(evaluation, name) == defaults[name]
    }
    return dataclasses.replace(evaluation, **changes)


def squares(folder: str, count: int, size: int, scale: float = 1.0) -> Pictures:
    """Central squares of `count` pictures of a folder, taken at even distances.

    Args:
      folder: searched recursively.
      count: how many at most.
      size: side in pixels.
      scale: see `Evaluation`.

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


def _judge(evaluation: Evaluation, own: Judge) -> Judge:
    if evaluation.features:
        return judging.relative(evaluation.features, evaluation.style_weight)
    if registry.at_hand(USUAL_JUDGE):
        return judging.relative(USUAL_JUDGE, evaluation.style_weight)
    print(
        f"judging by {own.network.spec}, the features of the training, because VGG-16 is not "
        f"installed: {registry.VGG_EXTRA}"
    )
    return own


def _lpips(evaluation: Evaluation) -> lpips.Weights | None:
    if evaluation.lpips == NO_LPIPS:
        return None
    if evaluation.lpips:
        return lpips.load(evaluation.lpips)
    return lpips.load(lpips.NETWORKS[0]) if lpips.at_hand(lpips.NETWORKS[0]) else None


def _candidate(spec: str) -> Candidate:
    init = initialization.load(spec)
    objective = provenance.recorded_objective(init.settings)
    trained_with, pooling = provenance.recorded_features(init.settings)
    network = registry.load(trained_with, objective.layers, pooling=pooling)
    return Candidate(Path(spec).stem, init, objective, network)


def _relative(objective: perceptual.Objective) -> perceptual.Objective:
    """The training's own; a raw loss has another size for every network and style."""
    weight = objective.style_weight if objective.normalize else provenance.NORMALIZED.style_weight
    return dataclasses.replace(objective, normalize=True, style_weight=weight)


def _compared(evaluation: Evaluation, styles: list[str], contents: list[str]) -> dict[str, Path]:
    """Folders by the name of their method, after a look whether each picture is there."""
    folders = {}
    for entry in evaluation.compared:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise UserError(f"--compare={entry} is no NAME=FOLDER: write magenta=runs/magenta")
        if name in folders:
            raise UserError(f"--compare names {name} twice: give each method a name of its own")
        folders[name] = Path(folder).expanduser()
        for style in styles:
            for content in contents:
                read_picture(folders[name], style, content, evaluation.size)
    return folders


def read_picture(folder: Path, style: str, content: str, size: int) -> np.ndarray:
    """`folder`/`style`/`content`.png, (size, size, 3) in [0, 1].

    Raises:
      UserError: it is missing, cannot be read, or has another size.
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


_RANGES = {
    "style_weight": ranges.POSITIVE_WEIGHT,
    "norm_rate": ranges.RATE,
    "all_rate": ranges.RATE,
    "style_count": ranges.count(),
    "content_count": ranges.count(),
    "bound_styles": ranges.count(0),
    "size": ranges.count(32),
    "scale": ranges.Range(1, 100),
    "batch": ranges.count(),
    "at": ranges.count(0),
    "scratch_at": ranges.count(0),
    "pixel_steps": ranges.count(),
    "pixel_contents": ranges.count(),
    "blind": ranges.count(-1),
    "blind_pairs": ranges.count(),
}


def _check(evaluation: Evaluation) -> None:
    for flag in ("styles", "contents"):
        if not getattr(evaluation, flag):
            raise UserError(f"--{flag} is missing: give a folder of pictures")
    known = ("", NO_LPIPS, *lpips.NETWORKS)
    if evaluation.lpips not in known:
        raise UserError(f"--lpips={evaluation.lpips} is unknown: use {', '.join(known[1:])}")
    ranges.check_flags(evaluation, _RANGES)
    if not evaluation.moves or not set(evaluation.moves) <= set(MOVES):
        raise UserError(f"--moves={','.join(evaluation.moves)} is unknown: use norm, all or both")
    if not evaluation.init:
        raise UserError("--init is empty: name at least one initialisation")
    for name in ("at", "scratch_at"):
        steps = getattr(evaluation, name)
        if not steps or max(steps) < 1:
            raise UserError(f"--{name.replace('_', '-')} needs steps such as 0,50,100")
