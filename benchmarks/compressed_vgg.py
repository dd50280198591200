"""How small VGG-16 itself can be made before what it draws differs: which size features need.

    python benchmarks/compressed_vgg.py --images=PHOTOGRAPHS,ARTWORKS --contents=A,B --styles=C,D \
        --out=DIR

The responses of each convolution lie near a space of fewer dimensions (Zhang, Zou, He, Sun,
"Accelerating very deep convolutional networks", 2015, section 3.1). Here each kernel is projected
on the principal directions that hold a given share of the variance of its responses. So it is two
convolutions: k x k to few channels, then 1 x 1 to all. Its numbers are rounded to a given number
of bits, with one scale for each channel. Nothing is trained. The compressed weights are written as
VGG-16 files to relu4_3, `metastyle study drawings` draws with each, and the whole one judges.
"""

from __future__ import annotations

import argparse
import csv
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.data import pipeline
from metastyle_jax.data.sources import open_source
from metastyle_jax.features import registry, weight_files
from metastyle_jax.networks import vgg
from metastyle_jax.storage import safetensors_file
from metastyle_jax.studies.features import feature_drawings

DEEPEST = "relu4_3"  # as far as the distilled features reach
SIZE = 96  # pixels of the crops that the responses are measured on
POSITIONS = 20_000  # of each convolution, drawn from all


class Compressed(NamedTuple):
    """A convolution as two.

    Attributes:
      kernel: (k, k, in, out), the product of the two.
      bias: (out,).
      numbers: that a file holds.
      multiplications: at one position.
    """

    kernel: np.ndarray
    bias: np.ndarray
    numbers: int
    multiplications: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="folders that the responses come from")
    parser.add_argument("--contents", required=True)
    parser.add_argument("--styles", required=True)
    parser.add_argument(
        "--kept",
        default="1:8,1:4,0.99:16,0.95:16",
        help="share of the variance, and bits of each number in a file (16, 8 ... 2)",
    )
    parser.add_argument("--count", type=int, default=16, help="crops of each folder")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    network = registry.load("vgg16", [DEEPEST], pooling="average")
    weights = jax.tree.map(np.asarray, dict(network.weights))
    found = responses(weights, crops(args.images.split(","), args.count))
    files, costs = [], {}
    for kept in ["1:16", *args.kept.split(",")]:
        share, bits = kept.split(":")
        convs = {n: compress(w, found[n], float(share), int(bits)) for n, w in weights.items()}
        file = args.out / f"{share}_of_the_variance_{bits}_bits.safetensors"
        safetensors_file.write(file, arrays(convs))
        files.append(f"vgg16:{file}")
        costs[files[-1]] = cost(convs, int(bits))
    draw(args, files)
    report(args.out, files, costs)


def crops(folders: list[str], count: int) -> jax.Array:
    """(N, SIZE, SIZE, 3), at scales as in configs/distilled_features.py."""
    return jnp.concatenate(
        [
            next(
                pipeline.crops(
                    open_source(folder, "content", image_size=SIZE),
                    pipeline.Crop(SIZE, max_scale=3.0),
                    count=count,
                    order=pipeline.Order(0, 0),
                    stream=0,
                    reading=pipeline.Reading(1),
                )
            )
            for folder in folders
        ]
    )


def responses(
    weights: Mapping[str, Mapping[str, np.ndarray]], x: jax.Array
) -> dict[str, np.ndarray]:
    """Before the ReLU, (POSITIONS, channels) of each convolution of VGG-16."""
    mean, deviation = jnp.asarray(vgg.MEAN), jnp.asarray(vgg.STANDARD_DEVIATION)
    x = (x - mean) / deviation
    random = np.random.default_rng(0)
    found, block = {}, "1"
    for name, conv in weights.items():
        if name[4] != block:
            x, block = vgg.average_pool(x), name[4]
        x = jax.lax.conv_general_dilated(
            x,
            jnp.asarray(conv["kernel"]),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = x + conv["bias"]
        flat = np.asarray(x).reshape(-1, x.shape[-1])
        found[name] = random.choice(flat, min(POSITIONS, len(flat)), replace=False)
        x = jax.nn.relu(x)
    return found


def whole(conv: Mapping[str, np.ndarray]) -> Compressed:
    """A convolution as it is."""
    kernel, bias = conv["kernel"], conv["bias"]
    return Compressed(kernel, bias, kernel.size + bias.size, kernel.size)


def compress(
    conv: Mapping[str, np.ndarray], response: np.ndarray, share: float, bits: int
) -> Compressed:
    """On the first principal directions of its responses that hold `share` of their variance.

    A convolution that would not get smaller stays one: all do for a share of 1.
    """
    kernel, bias = conv["kernel"], conv["bias"]
    mean = response.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(response, rowvar=False))
    variances, directions = variances[::-1], directions[:, ::-1]
    rank = 1 + int(np.searchsorted(np.cumsum(variances) / variances.sum(), share))
    numbers = rank * math.prod(kernel.shape[:3]) + rank * kernel.shape[3]
    if numbers >= kernel.size:
        return whole({"kernel": rounded(kernel, bits), "bias": bias})
    kept = directions[:, :rank].astype(np.float32)
    first, second = rounded(kernel @ kept, bits), rounded(kept.T, bits)
    shifted = mean + (bias - mean) @ kept @ kept.T
    return Compressed(first @ second, shifted.astype(np.float32), numbers + bias.size, numbers)


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """As a file would hold it: float16, or whole numbers with one scale for each last index."""
    if bits == 16:
        return x.astype(np.float16).astype(np.float32)
    largest = np.abs(x).max(axis=tuple(range(x.ndim - 1)), keepdims=True)
    step = np.maximum(largest, 1e-12) / (2 ** (bits - 1) - 1)
    return np.round(x / step) * step


def cost(convs: Mapping[str, Compressed], bits: int) -> tuple[float, float]:
    """(MB of a file, multiplications for each pixel of the picture)."""
    numbers = sum(conv.numbers for conv in convs.values())
    work = sum(c.multiplications / 4 ** (int(name[4]) - 1) for name, c in convs.items())
    return numbers * bits / 8 / 1e6, work


def arrays(convs: Mapping[str, Compressed]) -> dict[str, np.ndarray]:
    """torchvision's names, OIHW, float32."""
    keys = weight_files.torchvision_keys("vgg16")
    found = {}
    for name, conv in convs.items():
        kernel = conv.kernel.transpose(3, 2, 0, 1).astype(np.float32)
        found[f"{keys[name]}.weight"] = np.ascontiguousarray(kernel)
        found[f"{keys[name]}.bias"] = conv.bias
    return found


def draw(args: argparse.Namespace, files: list[str]) -> None:
    """Writes `drawings.csv`, one row for each network and style, in this order."""
    study = feature_drawings.DrawingStudy(
        contents=tuple(args.contents.split(",")),
        styles=tuple(args.styles.split(",")),
        networks=tuple(files),
        judge=files[0],  # that has no layers which the others lack
    )
    feature_drawings.run(study, args.out)


def report(out: Path, files: list[str], costs: Mapping[str, tuple[float, float]]) -> None:
    """Print the table."""
    with (out / "drawings.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    count = len(rows) // len(files)
    errors = np.asarray([float(row["style"]) for row in rows]).reshape(len(files), count)
    print(f"{platform.node()}, jax {jax.__version__}; style error over that of VGG-16 whole")
    names = " | ".join(row["style image"] for row in rows[:count])
    print(f"| network | MB | multiplications | {names} |\n|---|---|---|{'---|' * count}")
    for file, ratios in zip(files, errors / errors[0], strict=True):
        size, work = costs[file]
        shown = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {Path(file).stem} | {size:.2f} | {work / costs[files[0]][1]:.0%} | {shown} |")


if __name__ == "__main__":
    main()
