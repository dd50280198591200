"""Damaged picture files of every format through `stylize`: sentences, and nothing else.

    python benchmarks/mutated_pictures.py --count=2000

Bytes are changed, cut off, replaced and inserted, and single bits of headers flipped. Each file
must end as a whole picture or as a sentence of one line; no picture may be half-written. The
network is left out: it sees arrays only, and they are checked.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from metastyle_jax.stylization import batch_run

FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "webp": "WEBP",
    "tif": "TIFF",
    "gif": "GIF",
    "bmp": "BMP",
    "ppm": "PPM",
    "tga": "TGA",
    "ico": "ICO",
    "jp2": "JPEG2000",
    "avif": "AVIF",
    "pcx": "PCX",
    "sgi": "SGI",
    "dds": "DDS",
    "qoi": "QOI",
}
WITH_OPACITY = ("png", "webp", "tif")
SLOW = 10.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    sound = sound_files()
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), []
        for number in range(args.count):
            data, ending = sound[number % len(sound)]
            paths.append(folder / f"{number:05d}.{ending}")
            paths[-1].write_bytes(mutated(data, rng))
        report(batch_run.run([batch_run.Drawing(draw, "r")], paths, folder / "out", say=Watch()))
        check(paths, folder / "out")


def sound_files() -> list[tuple[bytes, str]]:
    """A picture in every format that this Pillow writes, some with transparency, one of 16 bits."""
    numbers = np.random.default_rng(0).integers(0, 256, (40, 48, 4), np.uint8)
    plain, deep = Image.fromarray(numbers[..., :3]), numbers[..., 0].astype(np.uint16) * 257
    files = []
    for ending, kind in FORMATS.items():
        try:
            files.append((encoded(plain, kind), ending))
        except (OSError, KeyError):
            print(f"this Pillow does not write {kind}")
    files += [(encoded(Image.fromarray(numbers), FORMATS[e]), e) for e in WITH_OPACITY]
    return [*files, (encoded(Image.fromarray(deep), "PNG"), "png")]


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed, kind = bytearray(data), rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randrange(1, 20)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    elif kind == 1:
        del changed[rng.randrange(1, len(changed)) :]
    elif kind == 2:
        start = rng.randrange(len(changed))
        changed[start : start + rng.randrange(64)] = rng.randbytes(rng.randrange(64))
    else:
        changed[rng.randrange(min(64, len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def draw(image: np.ndarray, progress: object) -> np.ndarray:
    assert image.ndim == 3 and image.shape[2] == 3 and min(image.shape[:2]) >= 16
    assert image.dtype in (np.uint8, np.float32)
    return image[::-1]


class Watch:
    """Fails when one file takes too long."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def __call__(self, line: str) -> None:
        now = time.perf_counter()
        assert now - self._last < SLOW, line
        self._last = now


def report(outcome: batch_run.Outcome) -> None:
    reasons = Counter(line.partition(": ")[2][:48] for line in outcome.failures)
    print(f"{len(outcome.written)} drawn, {len(outcome.failures)} refused, of which:")
    for reason, count in reasons.most_common():
        print(f"{count:6d} {reason}")
    assert not any("\n" in line for line in outcome.failures)


def check(paths: list[Path], folder: Path) -> None:
    """Every picture in the folder is whole and belongs to an input."""
    stems = {path.stem for path in paths}
    written = list(folder.iterdir())
    for path in written:
        assert path.stem in stems, path
        with Image.open(path) as image:
            image.load()
    print(f"{len(written)} files in the folder, all whole")


if __name__ == "__main__":
    main()
