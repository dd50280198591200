"""Peak bytes of an outer step against the number of inner steps: exact, reverse, and PyTorch.

python benchmarks/gpu_memory.py --device cuda --features vgg16:FILE --json FILE.json

Each figure comes from a process of its own. On GPUs the peak is what the allocator of JAX or of
PyTorch counts; that of JAX includes what XLA tries out while it compiles, so the bytes that the
compiled program asks for are given too. On CPU it is the growth of resident memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import against_pytorch
import both_sides
import jax
import result_files

# PyTorch has one way through the inner steps, that of reverse
KINDS = (("jax", "exact"), ("jax", "reverse"), ("NCHW", "reverse"))


def main() -> None:
    args = parse()
    jax.config.update("jax_platforms", args.device)
    if args.one:
        form, estimator, steps = args.one
        print(json.dumps(one(args, form, both_sides.Outer(args.count, int(steps), estimator))))
        return
    rows: list[dict[str, Any]] = []
    # the small ones first: not all of the large ones fit into a card together
    with ThreadPoolExecutor(args.processes) as threads:
        asked: list[tuple[dict[str, Any], Future]] = []
        for steps, (form, estimator) in itertools.product(args.steps, KINDS):
            row = {"form": form, "estimator": estimator, "steps": steps}
            asked.append((row, threads.submit(in_process, form, estimator, steps)))
        for row, result in asked:
            rows.append({**row, **result.result()})
            print(rows[-1], flush=True)
            setting = {"size": args.size, "count": args.count, "rows": rows}
            result_files.add_result(args.json, "memory", setting)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--features", default="compact", help="compact, vgg16 or vgg16:FILE")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--count", type=int, default=1, help="styles, and contents")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 5, 16], help="T")
    parser.add_argument("--processes", type=int, default=4, help="at once")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # form, estimator, T
    return parser.parse_args()


def in_process(form: str, estimator: str, steps: int) -> dict[str, Any]:
    """`one` in a process of its own; what went wrong as "error"."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", form, estimator, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def one(args: argparse.Namespace, form: str, what: both_sides.Outer) -> dict[str, int | None]:
    """Bytes of one step: the peak, and what XLA's program needs beside its arguments."""
    setting = both_sides.make_setting(args.device, args.features)
    side = both_sides.outer(setting, what._replace(size=args.size), form)
    return {
        "peak_bytes": against_pytorch.peak_bytes(args, side),
        "temporary_bytes": side.temporary,
    }


if __name__ == "__main__":
    main()
