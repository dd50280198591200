"""Draws contents in the styles of several packs: the picture on top of the README.

    python scripts/draw_gallery.py --contents=A.jpg,B.jpg --packs=NAME,NAME --artworks=FOLDER \
        --out=docs/gallery.jpg

FOLDER is that of scripts/adapt_packs.py, for the row of artworks on top.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from metastyle_jax.data.images import read_image
from metastyle_jax.data.resizing import center_crop_resized
from metastyle_jax.errors import exit_cleanly
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.storage import style_packs
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.stylization import loading

SIZE = 288  # that contents are drawn at, pixels
JPEG_QUALITY = 88


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contents", required=True, help="pictures, with commas")
    parser.add_argument("--packs", required=True, help="names, with commas")
    parser.add_argument("--artworks", type=Path, required=True)
    parser.add_argument("--cell", type=int, default=200, help="side of a picture in the sheet")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    packs = [style_packs.find(name) for name in args.packs.split(",")]
    artworks = [center_crop_resized(read_image(args.artworks / p.image), SIZE) for p in packs]
    rows: list[list[np.ndarray | None]] = [[None, *artworks]]
    stylizers = [loading.load(f"{style_packs.PREFIX}{pack.name}") for pack in packs]
    for file in args.contents.split(","):
        content = center_crop_resized(read_image(file), SIZE)
        rows.append([content, *(stylizer(content) for stylizer in stylizers)])
    with atomic_path(args.out) as temporary:
        Image.fromarray(contact_sheet(rows, cell=args.cell)).save(
            temporary, format="JPEG", quality=JPEG_QUALITY, optimize=True
        )


if __name__ == "__main__":
    with exit_cleanly():
        main()
