"""Contact sheets: pictures in rows and columns, with titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metastyle_jax.data import images, resizing

GUTTER = 4
TEXT_COLOR = (40, 40, 40)
ELLIPSIS = "..."


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    cell: int = 192,
) -> np.ndarray:
    """Lays pictures out on white, each fitted into a square with its proportions kept.

    Args:
      rows: of pictures (h, w, 3), uint8 or floats in [0, 1] (clipped), of any sizes; None leaves
        its cell empty, and so does a row that is shorter than the others.
      column_titles: drawn above the columns, cut to the width of a cell; may be fewer than those.
      row_titles: drawn left of the rows, cut likewise.
      cell: side of the squares in pixels.

    Returns:
      (H, W, 3) uint8.

    Raises:
      ValueError: no cell at all, more titles than columns or rows, `cell` below 8, or a picture of
        another shape.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0 or cell < 8:
        raise ValueError(f"a sheet needs cells of 8 pixels or more, got {columns} of {cell}")
    if len(column_titles) > columns or len(row_titles) > len(rows):
        raise ValueError(
            f"{len(column_titles)} column and {len(row_titles)} row titles "
            f"for {columns} columns and {len(rows)} rows"
        )
    font = ImageFont.load_default(max(10, cell // 12))
    assert isinstance(font, ImageFont.FreeTypeFont)  # the only kind that has sizes
    top = _line_height(font) + GUTTER if any(column_titles) else 0
    labels = [_fit(title, font, cell) for title in row_titles]
    left = max((_width(label, font) for label in labels), default=0)
    left += 2 * GUTTER if left else 0
    pitch = cell + GUTTER
    size = (left + columns * pitch + GUTTER, top + len(rows) * pitch + GUTTER)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for c, title in enumerate(column_titles):
        middle = left + GUTTER + c * pitch + cell // 2
        text = _fit(title, font, cell)
        draw.text((middle, GUTTER), text, fill=TEXT_COLOR, font=font, anchor="ma")
    for r, row in enumerate(rows):
        y = top + GUTTER + r * pitch
        if r < len(labels):
            middle = (left - GUTTER, y + cell // 2)
            draw.text(middle, labels[r], fill=TEXT_COLOR, font=font, anchor="rm")
        for c, picture in enumerate(row):
            if picture is not None:
                _paste(sheet, picture, left + GUTTER + c * pitch, y, cell)
    return np.array(sheet)


def _paste(sheet: Image.Image, picture: np.ndarray, x: int, y: int, cell: int) -> None:
    """Pastes (h, w, 3), fitted, into the middle of the square whose corner is (x, y)."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise ValueError(f"a picture of shape {picture.shape} instead of (h, w, 3)")
    scale = cell / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    # convert to 8 bits first: this removes NaN, which resampling would spread
    fitted = images.as_uint8(picture)
    if (height, width) != picture.shape[:2]:
        fitted = resizing.resample(fitted, height, width)
    sheet.paste(Image.fromarray(fitted), (x + (cell - width) // 2, y + (cell - height) // 2))


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The first line of `text`, its end replaced by dots if wider than `width` pixels."""
    text = (text.splitlines() or [""])[0]
    if _width(text, font) <= width:
        return text
    while text and _width(text + ELLIPSIS, font) > width:
        text = text[:-1]
    return text + ELLIPSIS


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return int(np.ceil(font.getlength(text)))


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics())
