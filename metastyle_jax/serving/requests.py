"""One request: what is asked for, checked, and how it is drawn."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from PIL import Image

from metastyle_jax.data import decoding, images, picture_writer, sent_pictures
from metastyle_jax.errors import UserError
from metastyle_jax.stylization import blending, sliders, tiling
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "tif": "image/tiff"}
PICTURE = "the picture"
_SEPARATORS = ",:"  # of styles, and of a style and its share
MOST_STYLES = 32  # in a blend; more than packs


class TooLarge(UserError):
    """The picture, or what is asked for, has more pixels than are drawn here."""


class NoPicture(UserError):
    """What was sent is no picture that is read here."""


class TooManyStyles(UserError):
    """A blend of more than `MOST_STYLES`."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      stylizer: with its style, or a blend.
      options: of the drawing.
      ending: of the format of the result, see `picture_writer.FORMATS`.
    """

    stylizer: Stylizer
    options: Options
    ending: str


def make(
    styles: Mapping[str, Stylizer],
    names: str,
    *,
    alpha: str | None,
    strength: float,
    colors: str,
    stroke_size: float,
    size: int | None,
    ending: str,
) -> Request:
    """A request of checked values.

    Args:
      styles: by name.
      names: one of them, or several with their shares: "great_wave:0.3,the_scream:0.7".
      alpha: weights of layers, see `sliders.parse`; None for 1.
      strength, colors, stroke_size, size: see `Options`.
      ending: of the format.

    Raises:
      TooManyStyles: the blend is of too many.
      UserError: a value cannot be used.
    """
    if ending not in CONTENT_TYPES:
        raise UserError(f"format={ending} is unknown: use one of {', '.join(CONTENT_TYPES)}")
    try:
        options = Options(strength, colors, stroke_size, size)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(str(error)) from error
    stylizer = _blend(styles, names)
    if alpha is not None:
        stylizer = stylizer.at(sliders.parse("alpha", alpha))
    return Request(stylizer, options, ending)


def check_names(names: Iterable[str]) -> None:
    """Check that requests can name these styles.

    Raises:
      UserError: they cannot name one.
    """
    for name in names:
        if not name or name != name.strip() or set(name) & set(_SEPARATORS):
            raise UserError(
                f"requests cannot name the style {name!r}: rename its file, without any of "
                f"{' '.join(_SEPARATORS)} and without spaces at its ends"
            )


def _blend(styles: Mapping[str, Stylizer], names: str) -> Stylizer:
    parts = [part.strip().partition(":") for part in names.split(",", MOST_STYLES)]
    if len(parts) > MOST_STYLES:
        raise TooManyStyles(f"style names more than {MOST_STYLES} styles: blend fewer")
    for name, _, _ in parts:
        if name not in styles:
            raise UserError(f"style={names}: there is no style {name!r}, see /v1/packs")
    if len(parts) == 1 and not parts[0][2]:
        return styles[parts[0][0]]
    try:
        shares = [(styles[name], float(share or 1)) for name, _, share in parts]
    except ValueError:
        raise UserError(f"style={names}: write NAME:SHARE,NAME:SHARE, shares as numbers") from None
    return blending.blend(shares)


def check_picture(request: Request, data: bytes, pixels: int) -> None:
    """Refuse, by its header, a picture that is none, or too large to draw.

    Args:
      request: what is asked for; its size and stroke size count too.
      data: the file.
      pixels: that a picture may have, and what is drawn, and what the network sees of it.

    Raises:
      NoPicture: it has no format that is taken, or would take too long to read.
      TooLarge: it has more pixels, or would have.
      UserError: the format of the result does not hold as long a side.
    """
    try:
        own_width, own_height = sent_pictures.sides(data, PICTURE)
    except decoding.TooManyPixels as error:
        raise TooLarge(str(error)) from error
    except UserError as error:
        raise NoPicture(str(error)) from error
    options = request.options
    height, width = options.sides(own_height, own_width)
    # with fine strokes the network sees the picture enlarged
    seen = height * width / min(1.0, options.stroke_size) ** 2
    if max(own_width * own_height, seen) > pixels:
        raise TooLarge(
            f"{PICTURE} has {own_width}x{own_height} pixels, {seen:.0f} as drawn; at most "
            f"{pixels} are drawn here: make it smaller, or give a smaller size"
            + (" or a larger stroke_size" if options.stroke_size < 1 else "")
        )
    remedy = "give format=png, or a smaller size"
    picture_writer.check_sides(PICTURE, request.ending, height, width, by=remedy)


def draw(
    request: Request, data: bytes, check: Callable[[float], None], stylize: tiling.Stylize
) -> bytes:
    """Draw a picture.

    Args:
      request: how.
      data: the file of the picture.
      check: called from time to time with the share that is done; may raise.
      stylize: how the network is applied, see `Stylizer.draw`.

    Returns:
      The file of the drawing, with the transparency of the picture.

    Raises:
      UserError: the picture is damaged, or does not suit the request.
    """
    layers = sent_pictures.decode(data, PICTURE)
    images.check_minimum_size(layers.colors, PICTURE)
    drawn = request.stylizer.draw(layers.colors, request.options, check, stylize)
    opacity = layers.opacity
    if opacity is not None:
        opacity = np.asarray(Image.fromarray(opacity).resize(drawn.shape[1::-1]))
    file = io.BytesIO()
    picture_writer.encode(file, request.ending, drawn, opacity=opacity)
    return file.getvalue()
