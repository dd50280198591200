"""Styles on a command line, each with its share: pack:great_wave:0.3 mine.safetensors:0.7."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metastyle_jax.data import images, input_files
from metastyle_jax.errors import UserError
from metastyle_jax.networks import stylization_network
from metastyle_jax.storage import home_folder, initialization, style_packs, unicode_text
from metastyle_jax.stylization import blending, loading
from metastyle_jax.stylization.stylizer import Stylizer

HELP = (
    "pack:NAME (see metastyle packs), style.safetensors, params.safetensors, or a workdir of "
    "metastyle train; several are blended, in equal shares or in those given as STYLE:SHARE"
)
INIT_HELP = (
    "weights that the style was adapted from; default: those that it names. Params files, workdirs "
    "and embedded have their own: beside them it is for the other styles"
)
_ENDING = ".safetensors"


@dataclasses.dataclass(frozen=True)
class StyleArgument:
    """A style on a command line.

    Attributes:
      spec: what `loading.load` takes.
      share: 0 or more; None if none was given.
    """

    spec: str
    share: float | None

    @property
    def file(self) -> Path:
        """The file or folder that is read."""
        if self.spec.startswith(style_packs.PREFIX):
            return style_packs.resolve(self.spec)
        return input_files.one_file(self.spec)


def is_style(argument: str) -> bool:
    """Whether an argument after the first names a style: a pack, safetensors file or workdir."""
    spec = parse(argument).spec
    is_file = spec.startswith(style_packs.PREFIX) or spec.endswith(_ENDING)
    return is_file or initialization.is_training(spec)


def parse(argument: str) -> StyleArgument:
    """Read STYLE or STYLE:SHARE.

    Raises:
      UserError: the share is negative or no finite number.
    """
    spec, colon, text = argument.rpartition(":")
    if not colon or spec == style_packs.PREFIX.rstrip(":"):
        return StyleArgument(argument, None)
    if home_folder.exists(home_folder.expanded(argument)):
        return StyleArgument(argument, None)
    try:
        share = float(text)
    except ValueError:
        return StyleArgument(argument, None)
    if not 0 <= share < float("inf"):
        raise UserError(f"{argument}: the share of a style is 0 or more, not {text}")
    return StyleArgument(spec, share)


def split(arguments: Sequence[str]) -> tuple[list[StyleArgument], list[str]]:
    """The styles in front, and what follows them. The first argument is always a style."""
    count = 1
    while count < len(arguments) and is_style(arguments[count]):
        count += 1
    return [parse(argument) for argument in arguments[:count]], list(arguments[count:])


def load_all(styles: Sequence[StyleArgument], init: str | None = None) -> list[Stylizer]:
    """Load every style; `init` as in `loading.inits_of`. Equal weights are in memory once."""
    stylizers: list[Stylizer] = []
    weights: dict[str, stylization_network.Weights] = {}
    specs = [
        each.spec if each.spec.startswith(style_packs.PREFIX) else each.file for each in styles
    ]
    for spec, its_init in zip(specs, loading.inits_of(specs, init), strict=True):
        loaded = loading.load(spec, init=its_init)
        if digest := loaded.record.weights_digest:
            shared = weights.setdefault(digest, loaded.weights)
            loaded = dataclasses.replace(loaded, weights=shared)
        stylizers.append(loaded)
    return stylizers


def blended(styles: Sequence[StyleArgument], stylizers: Sequence[Stylizer]) -> Stylizer:
    """One stylizer of several, by their shares; one alone stays what it is.

    Raises:
      UserError: some styles have a share and others have none; or see `blending.blend`.
    """
    shares = [each.share for each in styles]
    if len(stylizers) == 1:
        if shares[0] is not None:
            raise UserError(
                f"{styles[0].spec} is alone and needs no share: --strength makes it weaker"
            )
        return stylizers[0]
    without = [each.spec for each in styles if each.share is None]
    if without and len(without) < len(styles):
        raise UserError(f"{without[0]} has no share: give STYLE:SHARE to all styles or to none")
    values = [1.0 if share is None else share for share in shares]
    return blending.blend(list(zip(stylizers, values, strict=True)))


def regions(
    styles: Sequence[StyleArgument], stylizers: Sequence[Stylizer], masks: Sequence[Path]
) -> blending.Regions:
    """Styles in the parts of a picture that masks say.

    Args:
      styles: as named.
      stylizers: of the same number.
      masks: gray pictures, white where a style is: one for each style, or one less, and the first
        style is where no mask is.

    Raises:
      UserError: there are too few or too many masks, a style has a share, or a mask cannot be read.
    """
    for each in styles:
        if each.share is not None:
            raise UserError(f"{each.spec} has a share, which its mask says already; leave it out")
    missing = len(stylizers) - len(masks)
    if missing not in ((0, 1) if len(stylizers) > 1 else (0,)):
        allowed = {1: "one mask"}.get(
            len(stylizers), f"{len(stylizers) - 1} or {len(stylizers)} masks"
        )
        raise UserError(f"--mask: {len(stylizers)} styles need {allowed}, not {len(masks)}")
    layers = [images.read_image(path).mean(axis=-1) for path in masks]
    height, width = (max(layer.shape[axis] for layer in layers) for axis in (0, 1))
    layers = [blending.resized(layer[..., None], height, width)[..., 0] for layer in layers]
    if missing:
        layers.insert(0, np.clip(1 - np.sum(layers, axis=0), 0, 1))
    return blending.Regions(stylizers, np.stack(layers).astype(np.float32))


def offered(files: Sequence[str]) -> dict[str, Stylizer]:
    """The style files and all packs, by name: what a server offers. Named packs come first, too.

    Raises:
      UserError: two have one name, one has a share, or a file cannot be loaded.
    """
    packs = {pack.name: f"{style_packs.PREFIX}{pack.name}" for pack in style_packs.index()}
    named: dict[str, str] = {}
    for file in dict.fromkeys(files):
        if parse(file).share is not None:
            raise UserError(f"{file}: a style is offered without a share: leave it out")
        is_pack = file.startswith(style_packs.PREFIX)
        plain = file.removeprefix(style_packs.PREFIX) if is_pack else Path(file).stem
        name = unicode_text.escaped(plain)
        if name in named or (name in packs and not is_pack):
            raise UserError(
                f"two styles have one name, {name}, which is that of the file: rename one of them"
            )
        named[name] = file
    specs = named | packs
    return dict(zip(specs, load_all([parse(spec) for spec in specs.values()]), strict=True))
