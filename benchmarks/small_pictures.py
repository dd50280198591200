"""Small pictures drawn together, against tiles and one by one: seconds a picture.

    python benchmarks/small_pictures.py --count=8 --side=256

What `metastyle serve --batch` does. Random pictures, the network of the embedded start.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from metastyle_jax.runtime import huge_pages, in_turns
from metastyle_jax.stylization import loading, small_pictures, tiling
from metastyle_jax.stylization.small_pictures import SmallPicture


def main() -> None:
    huge_pages.begin_again()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="pictures of a batch")
    parser.add_argument("--side", type=int, nargs="+", default=small_pictures.SIDES)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    device = jax.devices()[0]
    print(f"{device.device_kind}, {platform.node()}, jax {jax.__version__}\n")
    print("| px | in tiles, s | alone, s | together, s a picture | tiles over together |")
    print("|---|---|---|---|---|")
    rows = [row(side, args.count, args.repeat) for side in args.side]
    if args.json:
        args.json.write_text(json.dumps({"device": device.device_kind, "rows": rows}, indent=1))


def row(side: int, count: int, repeat: int) -> dict[str, float]:
    stylizer = loading.load("embedded")
    weights, style, noise = stylizer.weights, stylizer.style, stylizer.input_noise
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    pictures = [SmallPicture(style, image, noise) for image in images]
    ways: dict[str, Callable[[], object]] = {
        "tiles": lambda: tiling.stylize(weights, [style], images[0], noise=noise),
        "alone": lambda: small_pictures.stylize(weights, pictures[:1], side, 1),
        "together": lambda: small_pictures.stylize(weights, pictures, side, count),
    }
    median = dict(zip(ways, in_turns.medians(list(ways.values()), repeat), strict=True))
    median["together"] /= count
    ratio = median["tiles"] / median["together"]
    print(f"| {side} | " + " | ".join(f"{x:.4f}" for x in median.values()) + f" | {ratio:.2f} |")
    return {"side": side, "count": count, **median}


if __name__ == "__main__":
    main()
