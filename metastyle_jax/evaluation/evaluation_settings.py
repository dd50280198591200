"""Settings of an evaluation: defaults, presets and checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import lpips
from metastyle_jax.settings import ranges
from metastyle_jax.storage import initialization

MOVES = ("norm", "all")
NO_LPIPS = "none"
# numbers of pairs and sizes of published tables; users bring their own pictures
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "published": {"style_count": 40, "content_count": 20, "size": 512}
}


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """What to evaluate, and what to compare it with; with the numbers of a preset: `of_preset`.

    Attributes:
      init: initializations to adapt, one or more, each as `initialization.load` reads it. The
        bounds minimize the objective of the first one.
      start: the style that adaptation starts from: "neutral", "predicted" or both; empty for
        predicted where an initialization has a predictor, see `starting_style`.
      moves: which parameters adaptation changes: "norm", "all" or both.
      norm_rate, all_rate: learning rates of Adam for "norm" and "all".
      styles, contents: folders of pictures. Pictures are chosen at even distances and cropped to
        central squares.
      training_contents: folder of the contents to adapt on; empty for `contents`.
      compare: "NAME=FOLDER" for each other method; its pictures are `FOLDER/STYLE/CONTENT.png`.
      features: feature network of the judge; empty for VGG-16 if it is installed, else for the
        feature network of the training.
      style_weight: style weight of a judge with other features than the training. One weight for
        all, so that trainings with different objectives meet the same judge.
      lpips: network of LPIPS, "alexnet" or "vgg16"; "none" for no LPIPS; empty for "alexnet" if it
        is installed.
      style_count, content_count: number of styles and contents.
      bound_styles: number of styles that are also trained from scratch and optimized by pixels.
      size: side of all pictures in pixels.
      scale: the short side of a picture is resized to this many times `size` before it is cropped,
        so that small pictures show textures as large ones would.
      batch: contents per adaptation step.
      at: adaptation steps after which pictures are judged.
      scratch_at: the same for the network trained from scratch.
      pixel_steps: steps of pixel optimization.
      pixel_contents: number of contents for pixel optimization.
      blind: random seed of the blind sheet, which shows the methods in random order; -1 for none.
      blind_pairs: number of pairs on the blind sheet, drawn at random.
    """

    init: tuple[str, ...] = (initialization.EMBEDDED,)
    start: tuple[str, ...] = ("",)
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
        """Learning rate of Adam for "norm" or "all"."""
        return self.norm_rate if moves == "norm" else self.all_rate

    @property
    def starts(self) -> tuple[str, ...]:
        """`start`; a flag without a value gives an empty tuple."""
        return self.start or ("",)

    @property
    def compared(self) -> tuple[str, ...]:
        """`compare` without empty entries."""
        return tuple(entry for entry in self.compare if entry)


def of_preset(preset: str, **given: Any) -> EvaluationSettings:
    """Settings with the numbers of a preset in the place of defaults.

    Args:
      preset: a key of `PRESETS`; empty for none.
      given: fields that are set. They stay, also where they equal a default.

    Raises:
      UserError: the preset is unknown.
    """
    if preset and preset not in PRESETS:
        raise UserError(f"--preset={preset} is unknown: use {', '.join(PRESETS)}")
    return EvaluationSettings(**{**PRESETS.get(preset, {}), **given})


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


def check(settings: EvaluationSettings) -> None:
    """Check every value.

    Raises:
      UserError: a value is missing, unknown or out of range.
    """
    for flag in ("styles", "contents"):
        if not getattr(settings, flag):
            raise UserError(f"--{flag} is missing: give a folder of pictures")
    known = ("", NO_LPIPS, *lpips.NETWORKS)
    if settings.lpips not in known:
        raise UserError(f"--lpips={settings.lpips} is unknown: use {', '.join(known[1:])}")
    ranges.check_flags(settings, _RANGES)
    if not settings.moves or not set(settings.moves) <= set(MOVES):
        raise UserError(f"--moves={','.join(settings.moves)} is unknown: use norm, all or both")
    if not settings.init:
        raise UserError("--init is empty: name at least one initialization")
    for name in ("at", "scratch_at"):
        steps = getattr(settings, name)
        if not steps or max(steps) < 1:
            raise UserError(f"--{name.replace('_', '-')} needs steps such as 0,50,100")
