"""Adapts the style packs of metastyle_jax/assets/packs and draws their thumbnails.

    python scripts/adapt_packs.py --artworks=FOLDER --contents=PHOTOGRAPHS [--only=NAME,NAME]

The packs are those of `packs.csv` there; its `image` is a file below FOLDER. A pack that is up to
date (adapted from the embedded weights of today, with these settings) is left as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data import images, resizing
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization, style_file, style_packs
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.stylization import stylizer
from metastyle_jax.stylization.stylizer import Stylizer

SAMPLE = "lake.jpg"  # content of the thumbnails
DRAWN, SHOWN = 320, 160  # their side in pixels: drawn at, and shrunk to
JPEG_QUALITY = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artworks", type=Path, required=True)
    parser.add_argument("--contents", required=True, help="folder of photographs to adapt on")
    parser.add_argument("--only", default="", help="names, with commas; default: all")
    parser.add_argument("--start", default="", help="neutral or predicted, as in adapt.py")
    parser.add_argument("--features", default="", help="as in adapt.py")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--size", type=int, default=256, help="of the contents, pixels")
    parser.add_argument(
        "--style-size", type=int, default=512, help="largest short side of the artworks"
    )
    args = parser.parse_args()
    wanted = [name for name in args.only.split(",") if name]
    packs = [style_packs.find(name) for name in wanted] or style_packs.index()
    for pack in packs:
        if not (args.artworks / pack.image).is_file():
            raise UserError(f"{args.artworks / pack.image} is missing: see {style_packs.INDEX}")
    init = initialization.load()
    start = service.start_from(stylizer.from_initialization(init), features=args.features)
    for number, pack in enumerate(packs, start=1):
        print(f"[{number}/{len(packs)}] {pack.name}", flush=True)
        _make(pack, init, start, args)
    _write_page(init)


def _make(
    pack: style_packs.Pack, init: initialization.Initialization, start: service.Start, args: Any
) -> None:
    described = {
        "init": init.name,
        "artwork": f"{pack.artist}: {pack.title} ({pack.year})",
        provenance.START: starting_style.kind_of(init, args.start),
        "adaptation.steps": args.steps,
        "adaptation.learning_rate": args.learning_rate,
        "adaptation.size": args.size,
        provenance.NOISE: start.stylizer.input_noise,
        "adaptation.style_size": args.style_size,
        **provenance.record_features(start.network),
        **provenance.record_objective(start.objective),
    }
    if _is_current(pack.style_file, init.digest, described):
        return
    artwork = images.read_image(args.artworks / pack.image)
    if min(artwork.shape[:2]) > args.style_size:
        artwork = resizing.resize_short_side(artwork, args.style_size)
    beginning = starting_style.stylizer_at_start(init, artwork, args.start)
    source = FolderSource(args.contents, "content folder")
    options = service.Options(steps=args.steps, learning_rate=args.learning_rate, size=args.size)
    result = service.adapt(dataclasses.replace(start, stylizer=beginning), artwork, source, options)
    _draw(pack.thumbnail, result.stylizer)
    record = dataclasses.replace(result.stylizer.record, settings=described)
    described_stylizer = dataclasses.replace(result.stylizer, record=record)
    described_stylizer.save(pack.style_file, command="scripts/adapt_packs.py")
    losses = [step["loss"] for step in result.history]
    print(
        f"  loss {np.mean(losses[:10]):.3f} -> {np.mean(losses[-10:]):.3f}, {result.seconds:.0f} s"
    )


def _write_page(init: initialization.Initialization) -> None:
    rows = [
        f"| ![{pack.name}]({pack.name}.jpg) | `pack:{pack.name}` | {pack.artist}: {pack.title} "
        f"({pack.year}) |\n"
        for pack in style_packs.index()
    ]
    text = (
        "# Style packs\n\nMade by `python scripts/adapt_packs.py` from the embedded network "
        f"(weights {init.digest[:12]}); the artworks are in the public domain, these files are "
        f"Apache-2.0. The thumbnails show `contents/{SAMPLE}`.\n\n"
        f"| | pack | artwork |\n|---|---|---|\n{''.join(rows)}"
    )
    with atomic_path(style_packs.folder() / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_current(path: Path, weights_digest: str, described: dict[str, Any]) -> bool:
    if not path.exists():
        return False
    _, metadata = style_file.load_style(path)
    return metadata["weights_digest"] == weights_digest and metadata["settings"] == described


def _draw(path: Path, drawing: Stylizer) -> None:
    (sample,) = (p for p in initialization.sample_images("contents") if p.name == SAMPLE)
    content = resizing.center_crop_resized(images.read_image(sample), DRAWN)
    drawn = Image.fromarray(images.as_uint8(drawing(content)))
    with atomic_path(path) as temporary:
        drawn.resize((SHOWN, SHOWN), Image.Resampling.LANCZOS).save(
            temporary, format="JPEG", quality=JPEG_QUALITY, optimize=True
        )


if __name__ == "__main__":
    with exit_cleanly():
        main()
