"""How far each step is from what the machine can do: counted operations and bytes, floor, measured.

taskset -c 0,1 python benchmarks/roofline.py --features vgg16
python benchmarks/roofline.py --device cuda --features vgg16 --dtype bfloat16 --match "256 px 4x4"

The rates are measured in the same run: a large matrix product in the dtype of the convolutions
(float32 in JAX's default precision, TF32 on GPUs that have it), and a copy of an array that no
cache holds. The floor is the larger of operations / rate and bytes / bandwidth, with what XLA
counts in its compiled program; on GPUs it counts operations before it compiles, because the
compiled program calls libraries. On CPU that is a program with Winograd's convolutions, so the
count is lower than that of the direct sums.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import both_sides
import jax
import jax.numpy as jnp
import numpy as np
import result_files

from metastyle_jax.runtime import huge_pages

OUTER = (
    both_sides.Outer(1, 1, "exact"),
    both_sides.Outer(2, 1, "exact"),
    both_sides.Outer(4, 1, "exact", 256),
)


def main() -> None:
    huge_pages.begin_again()
    args = parse()
    jax.config.update("jax_platforms", args.device)
    rates = {dtype: matmul_rate(args, dtype) for dtype in dict.fromkeys(("float32", args.dtype))}
    bandwidth = copy_bandwidth(args.repeat, args.copy)
    result_files.add_result(args.json, "rates", {"matmul_flops": rates, "copy_bytes": bandwidth})
    shown = [f"{rate / 1e9:.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items()]
    print(f"{jax.devices()[0].device_kind}: {', '.join(shown)}, {bandwidth / 1e9:.1f} GB/s")
    print("| step | operations | bytes | floor | measured | floor / measured |")
    print("|---|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    for name, make in steps(args).items():
        if any(part in name for part in args.match):
            rows.append({"step": name, **measure(args, make(), rates[args.dtype], bandwidth)})
            print(line(rows[-1]), flush=True)
            result_files.add_result(args.json, f"roofline {args.dtype}", rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="compact", help="compact, vgg16 or vgg16:FILE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--match",
        nargs="+",
        default=["outer 128", "adaptation", "inference"],
        help="only steps whose name contains one of these",
    )
    parser.add_argument("--matrix", type=int, default=4096, help="side of the matrices")
    parser.add_argument("--copy", type=int, default=2**27, help="numbers that are copied")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path, help="the same as JSON, after every step")
    return parser.parse_args()


def steps(args: argparse.Namespace) -> dict[str, Callable[[], both_sides.Side]]:
    """All steps by name."""
    dtype = None if args.dtype == "float32" else args.dtype
    setting = both_sides.make_setting(args.device, args.features, dtype)
    return {
        **{what.name: functools.partial(both_sides.outer, setting, what, "jax") for what in OUTER},
        "adaptation 256 px norm": lambda: both_sides.adapt(setting, "norm", "jax"),
        "adaptation 256 px all": lambda: both_sides.adapt(setting, "all", "jax"),
        "inference 512 px": lambda: both_sides.inference(setting, 512, "jax"),
    }


def measure(
    args: argparse.Namespace, side: both_sides.Side, rate: float, bandwidth: float
) -> dict[str, float]:
    """A row: operations, bytes, seconds of the floor and measured."""
    operations, traffic = side.operations or 0, side.traffic or 0  # 0: XLA does not say
    return {
        "operations": operations,
        "bytes": traffic,
        "floor": max(operations / rate, traffic / bandwidth),
        "measured": median_seconds(side.run, args.repeat),
    }


def line(row: dict[str, Any]) -> str:
    return (
        f"| {row['step']} | {row['operations'] / 1e9:.1f} G | {row['bytes'] / 1e9:.2f} GB "
        f"| {1e3 * row['floor']:.1f} ms | {1e3 * row['measured']:.1f} ms "
        f"| {row['floor'] / row['measured']:.2f} |"
    )


def matmul_rate(args: argparse.Namespace, dtype: str) -> float:
    """Floating point operations per second of a square product of random numbers."""
    matrix = jax.random.normal(jax.random.key(0), (args.matrix, args.matrix), dtype)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    seconds = median_seconds(lambda: product(matrix, matrix).block_until_ready(), args.repeat)
    return 2 * args.matrix**3 / seconds


def copy_bandwidth(repeat: int, count: int) -> float:
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
