"""How large the structures of pictures are: contrast by the length of its waves.

    python benchmarks/stroke_bands.py NAME=FOLDER_OR_PATTERN ...

The gray picture, times a Hann window, is split by the period of its waves. Each figure is the
standard deviation of gray values (in levels of 255) that waves of these periods make, the root of
the mean over pictures of the power in the band. Long strokes have periods of 32 to 128 px. The last
column is the power in that band over the power in all of them.
"""

from __future__ import annotations

import sys

import numpy as np

from metastyle_jax.data import input_files
from metastyle_jax.data.images import read_image

BANDS = ((2, 4), (4, 8), (8, 16), (16, 32), (32, 128))  # pixels


def main() -> None:
    if len(sys.argv) < 2 or not all("=" in argument for argument in sys.argv[1:]):
        sys.exit("usage: python benchmarks/stroke_bands.py NAME=FOLDER_OR_PATTERN ...")
    print("| pictures | number | " + " | ".join(f"{a} to {b} px" for a, b in BANDS) + " | share |")
    print("|---|---|---|" + "---|" * len(BANDS))
    for argument in sys.argv[1:]:
        name, _, pattern = argument.partition("=")
        files = input_files.find_pictures([pattern]).files
        powers = np.mean([band_powers(read_image(file)) for file in files], axis=0)
        shown = " | ".join(f"{255 * np.sqrt(power):.1f}" for power in powers)
        share = powers[-1] / powers.sum()
        print(f"| {name} | {len(files)} | {shown} | {share:.2f} |")


def band_powers(image: np.ndarray) -> np.ndarray:
    """Variance of the gray values of (H, W, 3) in [0, 1] that each of `BANDS` makes."""
    gray = np.asarray(image, np.float64).mean(axis=-1)
    window = np.hanning(gray.shape[0])[:, None] * np.hanning(gray.shape[1])[None]
    gray = (gray - np.average(gray, weights=window)) * window
    # Parseval: the sum over all frequencies is the variance under the window
    power = np.abs(np.fft.fft2(gray)) ** 2 / gray.size / np.square(window).sum()
    rows, columns = (np.fft.fftfreq(side)[:, None] for side in gray.shape)
    frequency = np.hypot(rows, columns.T)
    return np.array([power[(frequency > 1 / b) & (frequency <= 1 / a)].sum() for a, b in BANDS])


if __name__ == "__main__":
    main()
