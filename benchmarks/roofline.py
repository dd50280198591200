"""How far each step is from what the machine can do: counted operations and bytes, floor, measured.

taskset -c 0,1 python benchmarks/roofline.py --features vgg16

The rates are measured in the same run: a large float32 matrix product, and a copy of an array that
no cache holds. The floor is the larger of operations / rate and bytes / bandwidth, with what XLA
counts in its compiled program. On CPU that is a program with Winograd's convolutions, so the count
is lower than that of the direct sums.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import both_sides
import jax
import jax.numpy as jnp
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="compact", help="compact, vgg16 or vgg16:FILE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    jax.config.update("jax_platforms", args.device)
    rate, bandwidth = matmul_rate(args.repeat), copy_bandwidth(args.repeat)
    print(f"{jax.devices()[0].device_kind}: {rate / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s")
    print("| step | operations | bytes | floor | measured | floor / measured |")
    print("|---|---|---|---|---|---|")
    setting = both_sides.make_setting(args.device, args.features)
    for name, make in {
        "outer 128 px 1x1 T=1 exact": lambda: both_sides.outer(setting, 1, 1, "exact", "jax"),
        "outer 128 px 2x2 T=1 exact": lambda: both_sides.outer(setting, 2, 1, "exact", "jax"),
        "adaptation 256 px norm": lambda: both_sides.adapt(setting, "norm", "jax"),
        "adaptation 256 px all": lambda: both_sides.adapt(setting, "all", "jax"),
        "inference 512 px": lambda: both_sides.inference(setting, 512, "jax"),
    }.items():
        side = make()
        measured = median_seconds(side.run, args.repeat)
        floor = max(side.operations / rate, side.traffic / bandwidth)
        print(
            f"| {name} | {side.operations / 1e9:.1f} G | {side.traffic / 1e9:.2f} GB "
            f"| {1e3 * floor:.0f} ms | {1e3 * measured:.0f} ms | {floor / measured:.2f} |",
            flush=True,
        )


def matmul_rate(repeat: int, size: int = 4096) -> float:
    """Floating point operations per second of a square float32 product."""
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return 2 * size**3 / median_seconds(lambda: product(matrix, matrix).block_until_ready(), repeat)


def copy_bandwidth(repeat: int, count: int = 2**27) -> float:
    """Bytes per second, read and written, of adding a number to `count` float32 values."""
    values = jnp.ones(count, jnp.float32)
    copy = jax.jit(lambda x: x + 1, donate_argnums=0).lower(values).compile()

    def run() -> None:
        nonlocal values
        values = copy(values).block_until_ready()

    return 8 * count / median_seconds(run, repeat)


def median_seconds(run: Callable[[], Any], repeat: int) -> float:
    """Of `repeat` runs after a first one."""
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
