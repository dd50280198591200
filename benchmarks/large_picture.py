"""Seconds and peak memory of one large picture.

python benchmarks/large_picture.py HEIGHT WIDTH
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

import metastyle_jax as ms


def main(height: int, width: int) -> None:
    stylizer = ms.load("pack:starry_night")
    small = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    picture = small.repeat(8, axis=0).repeat(8, axis=1)
    stylizer.draw(picture[:256, :256])  # compiles
    before, start = peak(), time.perf_counter()
    stylizer.draw(picture)
    seconds = time.perf_counter() - start
    print(
        f"{picture.shape[1]}x{picture.shape[0]}: {seconds:.1f} s, {before} MB before, {peak()} MB"
    )


def peak() -> int:
    """Largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
