"""Renders the sample pictures that the package carries, from `metastyle_jax.data.procedural`.

    python scripts/render_assets.py [--folder metastyle_jax/assets]

Takes about five seconds. The same versions of numpy and Pillow write the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from metastyle_jax.data import images
from metastyle_jax.data.procedural import drawn_source

SIZE = 384
JPEG_QUALITY = 92
# Seeds chosen by eye.
CONTENTS = {"valley": 12, "city": 29, "lake": 30, "still_life": 11}
STYLES = {"brush_strokes": 16, "mosaic": 25, "swirls": 18, "marbling": 29, "dots": 4, "shapes": 23}


def render(folder: Path) -> list[Path]:
    """Writes contents/NAME.jpg and styles/NAME.jpg below `folder` and returns their paths."""
    painters: tuple[tuple[str, dict[str, int], Callable[[int, int], np.ndarray]], ...] = (
        ("contents", CONTENTS, drawn_source.content_image),
        ("styles", STYLES, drawn_source.style_image),
    )
    written = []
    for kind, seeds, paint in painters:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, seed in seeds.items():
            path = folder / kind / f"{name}.jpg"
            picture = Image.fromarray(images.as_uint8(paint(seed, SIZE)))
            picture.save(path, quality=JPEG_QUALITY, subsampling=0, optimize=True)
            written.append(path)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "metastyle_jax" / "assets"
    parser.add_argument("--folder", type=Path, default=default)
    for path in render(parser.parse_args().folder):
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
