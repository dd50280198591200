"""Settings of the study of style losses, and their checks."""

from __future__ import annotations

import dataclasses

from metastyle_jax.errors import UserError
from metastyle_jax.losses import fusion
from metastyle_jax.networks import vgg
from metastyle_jax.settings import ranges

FIGURES = ("reconstructions", "gammas", "gallery", "fusions")


@dataclasses.dataclass(frozen=True)
class LossStudy:
    """Settings of the study.

    Attributes:
      contents, styles: picture files, pairs in this order; the first pair is that of the sweeps.
      features: feature network, see `features.registry.load`.
      pooling: of it.
      methods: style losses, see `fusion.parse`.
      layers: reconstructed from the first, the first two, and so on; all together are the style of
        the other figures.
      content_layer: of the other figures.
      gammas: of the sweep over the balance of style and content.
      gamma: of the other figures.
      shares: of the first loss of a fusion.
      size: side of the pictures in pixels.
      steps: of Adam.
      learning_rate: of Adam.
      figures: which of `FIGURES` to make; the tables belong to the gallery.
    """

    contents: tuple[str, ...]
    styles: tuple[str, ...]
    features: str = "distilled"
    pooling: vgg.Pooling = "average"
    methods: tuple[str, ...] = ("linear", "poly", "gaussian", "bn")
    layers: tuple[str, ...] = ("relu1_1", "relu1_2", "relu2_2", "relu3_1", "relu3_3")
    content_layer: str = "relu3_3"
    gammas: tuple[float, ...] = (0.1, 0.2, 1.0, 5.0, 10.0)
    gamma: float = 5.0
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    size: int = 192
    steps: int = 200
    learning_rate: float = 0.02
    figures: tuple[str, ...] = FIGURES


_RANGES = {
    "gammas": ranges.POSITIVE_WEIGHT,
    "gamma": ranges.POSITIVE_WEIGHT,
    "shares": ranges.Range(0, 1, above=True),
    "size": ranges.count(32),
    "steps": ranges.count(),
    "learning_rate": ranges.RATE,
}


def check(study: LossStudy) -> None:
    """Check every value.

    Raises:
      UserError: a value is missing, unknown or out of range.
    """
    if not study.contents or len(study.contents) != len(study.styles):
        raise UserError(
            f"--contents has {len(study.contents)} pictures and --styles {len(study.styles)}: give "
            "as many of both, in pairs"
        )
    for name in study.figures:
        if name not in FIGURES:
            raise UserError(f"--figures: {name!r} is unknown: use some of {', '.join(FIGURES)}")
    if not study.figures:
        raise UserError(f"--figures is empty: use some of {', '.join(FIGURES)}")
    ranges.refuse_empty(study, ("methods", "layers", "gammas", "shares"))
    for method in study.methods:
        try:
            fusion.parse(method)
        except ValueError as error:
            raise UserError(f"--methods: {error}") from error
    architecture = study.features.partition(":")[0]
    for flag, layers in (("layers", study.layers), ("content-layer", (study.content_layer,))):
        try:
            vgg.needed_convs(architecture, layers)
        except ValueError as error:
            raise UserError(f"--{flag}: {error}") from error
    ranges.check_flags(study, _RANGES)
    if max(study.shares) >= 1:
        raise UserError("--shares must be below 1: the rest is the share of the other loss")
