"""What happens when a visitor does something: plain functions that know nothing of the page."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data import images, picture_writer
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.errors import UserError
from metastyle_jax.export import exporting
from metastyle_jax.storage import initialization
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.studio import live_adaptation, pad, painting, uploads
from metastyle_jax.studio.live_adaptation import Reached
from metastyle_jax.studio.visits import Visit
from metastyle_jax.stylization import blending, variations
from metastyle_jax.stylization.blending import Regions
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer

COARSE = 192  # short side of the first picture after a slider moved, pixels
TRAINING_SIDE = 256  # of the crops of an adaptation, as in `adapt`
SLIDERS = "sliders"
NORM = "norm"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a visitor may send; Gradio itself limits the bytes of a file.

    Attributes:
      pixels: of a picture.
    """

    pixels: int = 16_000_000


def named(styles: Mapping[str, Stylizer], name: str | None) -> Stylizer:
    """The style of that name.

    Raises:
      UserError: there is none.
    """
    if name is None or name not in styles:
        raise UserError(f"there is no style {name!r}: choose one of the gallery")
    return styles[name]


def blended(
    styles: Mapping[str, Stylizer], corners: Sequence[str | None], place: Mapping[str, Any]
) -> Stylizer:
    """The blend at a place of the pad, see `pad.shares`.

    Raises:
      UserError: no style was chosen, or the styles do not belong together.
    """
    parts = pad.shares(corners, place)
    return blending.blend([(named(styles, name), share) for name, share in parts.items()])


def in_regions(
    styles: Mapping[str, Stylizer], painted: Mapping[str, Any] | None, names: Sequence[str]
) -> Regions:
    """A style for each painted color, and one elsewhere, see `painting.masks`.

    Raises:
      UserError: nothing was painted, or the styles do not belong together.
    """
    there, masks = painting.used(painting.masks(painted), names)
    return Regions([named(styles, name) for name in there], masks)


def with_sliders(drawn_with: Stylizer | Regions | None) -> tuple[str, ...]:
    """The layers that have sliders."""
    if isinstance(drawn_with, Stylizer) and drawn_with.sliders is not None:
        return drawn_with.sliders.layers
    return ()


def draw(
    drawn_with: Stylizer | Regions | None,
    photograph: np.ndarray,
    options: Options,
    alpha: Mapping[str, float],
) -> Iterator[np.ndarray]:
    """Draw a photograph, first coarsely if it is large, then as asked for.

    Args:
      drawn_with: the style.
      photograph: (H, W, 3) uint8.
      options: its size is the short side of the drawing, unless the photograph is smaller.
      alpha: weights of layers, for a style that has sliders.

    Raises:
      UserError: no style was chosen, or it does not suit the options.
    """
    if drawn_with is None:
        raise UserError("no style is chosen: take one of the gallery, or adapt to your artwork")
    if isinstance(drawn_with, Stylizer) and drawn_with.sliders is not None:
        layers = drawn_with.sliders.layers
        drawn_with = drawn_with.at({layer: alpha[layer] for layer in layers if layer in alpha})
    short = min(photograph.shape[:2])
    size = min(options.size or short, short)
    if size > 1.5 * COARSE:
        yield drawn_with.draw(photograph, dataclasses.replace(options, size=COARSE))
    yield drawn_with.draw(photograph, dataclasses.replace(options, size=size))


def random_variations(
    drawn_with: Stylizer | Regions | None, photograph: np.ndarray, count: int, seed: int
) -> Iterator[tuple[np.ndarray, str]]:
    """(picture, what it was drawn with), small; weights of layers where the style has sliders.

    Raises:
      UserError: no single style was chosen.
    """
    if not isinstance(drawn_with, Stylizer):
        raise UserError("random variations need one style: take one of the gallery")
    small = uploads.at_most(photograph, TRAINING_SIDE)
    for each in variations.draw(drawn_with, count, seed=seed, content_noise=True):
        yield each.applied(drawn_with).draw(small, Options(spots=each.spots)), str(each)


def adapt(
    visit: Visit,
    photograph: np.ndarray,
    artwork: np.ndarray,
    *,
    steps: int,
    sliders: bool,
    further: bool,
    asked: int = 0,
) -> Iterator[Reached]:
    """Adapt to an artwork; what was reached goes to `visit` step by step.

    Args:
      visit: its `stop` ends the adaptation, also while that waits in line.
      photograph, artwork: (H, W, 3) uint8. It trains on the photograph and the samples.
      steps: of Adam.
      sliders: whether the style gets a slider for each layer.
      further: begin with what `visit` has reached.
      asked: `stops` of `visit` when the adaptation was asked for.

    Raises:
      UserError: there is nothing to go on from; or see `service.adapt`.
    """
    if visit.has_ended(asked):  # while it waited in line
        return
    style = images.as_float(uploads.at_most(artwork, uploads.LONGEST_STYLE))
    if further and visit.adapted is None:
        raise UserError("there is no adaptation to go on with: press Adapt first")
    if further and visit.adapted is not None:
        beginning, before = visit.adapted, visit.losses
        sliders = beginning.sliders is not None
    else:
        init = initialization.load(
            initialization.ADJUSTABLE if sliders else initialization.EMBEDDED
        )
        beginning, before = starting_style.stylizer_at_start(init, style), ()
    samples = [np.asarray(Image.open(path)) for path in initialization.sample_images("contents")]
    contents = [uploads.at_most(photograph, 2 * TRAINING_SIDE), *samples]
    options = service.Options(
        steps=steps, parameters=SLIDERS if sliders else NORM, size=TRAINING_SIDE
    )
    start = service.start_from(beginning)
    stopping = functools.partial(visit.has_ended, asked)
    run = live_adaptation.run(start, style, cast(ImageSource, contents), options, stopping)
    for reached in run:
        visit.adapted = visit.drawn_with = reached.stylizer
        visit.losses = (*before, *reached.losses)
        yield dataclasses.replace(reached, losses=visit.losses)


def write_picture(path: Path, picture: np.ndarray) -> Path:
    """A picture as PNG."""
    file = io.BytesIO()
    picture_writer.encode(file, "png", picture)
    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(file.getvalue())
    return path


def before_file(visit: Visit, path: str, photograph: np.ndarray, short_side: int) -> Path:
    """The photograph as it lies beneath a drawing of that size: written once.

    Args:
      path: of the upload, which names the photograph.
      photograph: (H, W, 3) uint8.
      short_side: of the drawing, pixels.
    """
    name = hashlib.sha256(path.encode()).hexdigest()[:16]
    file = visit.file(f"{name}_{short_side}.png")
    return file if file.exists() else write_picture(file, uploads.at_most(photograph, short_side))


def write_pack(visit: Visit) -> Path:
    """The style as a file that `metastyle stylize` and `metastyle inspect` read.

    Raises:
      UserError: no single style was chosen.
    """
    path = visit.file("style.safetensors")
    _single(visit).save(path, command="metastyle studio")
    return path


def write_onnx(visit: Visit, alpha: Mapping[str, float]) -> Path:
    """The network in this style as ONNX, compared with `stylize`.

    Raises:
      UserError: no single style was chosen, a package is missing, or see
        `exporting.export_stylizer`.
    """
    stylizer = _single(visit)
    if stylizer.sliders is not None:
        layers = stylizer.sliders.layers
        stylizer = stylizer.at({layer: alpha[layer] for layer in layers if layer in alpha})
    path = visit.file("style.onnx")
    exporting.export_stylizer(stylizer, path, "onnx")
    return path


def _single(visit: Visit) -> Stylizer:
    if not isinstance(visit.drawn_with, Stylizer):
        raise UserError("regions have several styles: choose one style to save it")
    return visit.drawn_with
