"""Draws one photograph with each option of `metastyle stylize`: docs/images/options.jpg.

python scripts/draw_options.py PHOTOGRAPH docs/images/options.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import metastyle_jax as ms
from metastyle_jax.data import picture_writer
from metastyle_jax.data.images import as_uint8, read_image
from metastyle_jax.data.resizing import resize_short_side
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.reporting.sheets import contact_sheet

SIZE, CELL = 384, 300  # short side that is drawn, and side of a cell, pixels
PACKS = ("pack:starry_night", "pack:the_scream")


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise UserError("give a photograph and a file: draw_options.py PHOTOGRAPH FILE")
    photo = as_uint8(resize_short_side(read_image(arguments[0]), SIZE))
    one, other = map(ms.load, PACKS)
    right = np.clip(np.linspace(-4, 5, photo.shape[1], dtype=np.float32), 0, 1)[None]
    drawn = {
        "photograph": photo,
        "starry_night": one(photo),
        "--strength=0.5": one(photo, strength=0.5),
        "--strength=1.5": one(photo, strength=1.5),
        "--stroke-size=2": one(photo, stroke_size=2),
        "--color=keep": one(photo, colors="luminance"),
        "--color=covariance": one(photo, colors="covariance"),
        "the_scream, half of each": ms.blend([(one, 1), (other, 1)])(photo),
        "--mask, one on each side": ms.Regions([one, other], np.stack([1 - right, right])).draw(
            photo
        ),
    }
    cells = list(drawn.items())
    rows = [cells[start : start + 3] for start in range(0, len(cells), 3)]
    sheets = [
        contact_sheet(
            [[image for _, image in row]], column_titles=[name for name, _ in row], cell=CELL
        )
        for row in rows
    ]
    picture_writer.write_picture(Path(arguments[1]), np.concatenate(sheets), quality=85)


if __name__ == "__main__":
    with exit_cleanly():
        main(sys.argv[1:])
