"""Makes the embedded `compact` feature network: seeded random filters, calibrated on our pictures.

    python scripts/make_compact_features.py [--file metastyle_jax/assets/compact.safetensors]

First form: nothing here is trained. Random features already define useful texture statistics
(Ustyuzhaninov et al. 2016; He, Wang & Hopcroft 2016). Each layer, in order, is

1. drawn: an orthogonal matrix over (inputs x 3 x 3), from a seed;
2. calibrated on procedural pictures, as by folding a batch normalisation: every channel has mean
   `SHIFT` and deviation 1 before its ReLU.

Whitening each layer's inputs first (covariance^-1/8, ^-1/4 and more) was tried: the pictures turned
to noise. Smoothing them instead (covariance^1/8) left flat patches without texture.

Takes half a minute of two free cores. The same versions of numpy, jax and Pillow write the same
bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from metastyle_jax import feature_weights, safetensors_file, vgg
from metastyle_jax.data import procedural

SEED = 0
LAST_CONV = "conv4_3"
# At 0 the ReLU would cut off half of every channel, and with it more of the picture every time.
SHIFT = 0.5
PICTURES, SIZE = 32, 128
PATCHES = 40_000


def calibration_pictures(count: int, size: int) -> np.ndarray:
    """Procedural pictures, half contents, half styles: (count, size, size, 3) float32 in [0, 1]."""
    painters = (procedural.content_image, procedural.style_image)
    return np.stack([painters[i % 2](1000 + i // 2, size) for i in range(count)])


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Uniformly random (rows, columns) float64 with orthonormal rows; rows <= columns."""
    q, r = np.linalg.qr(rng.normal(size=(columns, rows)))
    # Without the signs QR would favour some directions.
    return (q * np.sign(np.diag(r))).T


def patches(rng: np.random.Generator, x: np.ndarray, count: int) -> np.ndarray:
    """At most `count` random 3x3 patches of (N, H, W, C), as (count, 9 * C) float64.

    Columns run over (row, column, channel), the order of an HWIO kernel. Patches that would reach
    over the border are left out: the padding there is no part of a picture.
    """
    n, h, w, c = x.shape
    positions = rng.permutation(n * (h - 2) * (w - 2))[:count]
    image, row, column = np.unravel_index(positions, (n, h - 2, w - 2))
    offsets = np.arange(3)
    taps = x[
        image[:, None, None],
        row[:, None, None] + offsets[:, None],
        column[:, None, None] + offsets[None, :],
    ]
    return taps.reshape(len(positions), 9 * c).astype(np.float64)


def make_conv(rng: np.random.Generator, x: np.ndarray, outputs: int) -> dict[str, np.ndarray]:
    """One convolution for inputs like `x` (N, H, W, C).

    Returns:
      `{"kernel": (3, 3, C, outputs), "bias": (outputs,)}` float32, rounded to float16.
    """
    samples = patches(rng, x, PATCHES)
    rows = orthogonal(rng, outputs, samples.shape[1])
    responses = samples @ rows.T
    deviation = responses.std(axis=0)
    kernel = (rows / deviation[:, None]).T.reshape(3, 3, x.shape[-1], outputs)
    bias = SHIFT - responses.mean(axis=0) / deviation
    # Rounded here, so that later layers are calibrated on what will be loaded.
    return {
        "kernel": kernel.astype(np.float16).astype(np.float32),
        "bias": bias.astype(np.float16).astype(np.float32),
    }


def make_network() -> dict[str, dict[str, np.ndarray]]:
    """All convolutions to `LAST_CONV`, layer by layer, as `feature_weights.load` returns them."""
    rng = np.random.default_rng(SEED)
    pictures = calibration_pictures(PICTURES, SIZE)
    x = (pictures - np.float32(vgg.MEAN)) / np.float32(vgg.STANDARD_DEVIATION)
    weights: dict[str, dict[str, np.ndarray]] = {}
    block = "1"
    for conv in vgg.needed_convs("compact", [LAST_CONV.replace("conv", "relu")]):
        if conv[4] != block:
            x, block = np.asarray(vgg.average_pool(x)), conv[4]
        weights[conv] = make_conv(rng, x, vgg.conv_shapes("compact")[conv][-1])
        relu = conv.replace("conv", "relu")
        x = np.asarray(
            vgg.features(weights, pictures, [relu], architecture="compact", pooling="average")[relu]
        )
    return weights


def write(path: Path) -> None:
    """Makes the network and writes it as float16 under torchvision's key names, OIHW."""
    keys = feature_weights.torchvision_keys("compact")
    arrays = {}
    for conv, weight in make_network().items():
        arrays[f"{keys[conv]}.weight"] = weight["kernel"].transpose(3, 2, 0, 1).astype(np.float16)
        arrays[f"{keys[conv]}.bias"] = weight["bias"].astype(np.float16)
    metadata = {
        "architecture": "compact",
        "origin": "seeded random filters, not trained; scripts/make_compact_features.py",
        "settings": f"seed {SEED}, shift {SHIFT}, {PICTURES} procedural pictures of {SIZE} pixels",
        "license": "Apache-2.0",
    }
    safetensors_file.write(path, arrays, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    assets = Path(__file__).resolve().parent.parent / "metastyle_jax" / "assets"
    parser.add_argument("--file", type=Path, default=assets / "compact.safetensors")
    path = parser.parse_args().file
    write(path)
    print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
