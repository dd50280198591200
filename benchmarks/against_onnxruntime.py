"""A picture by XLA and by onnxruntime, the same network and threads: ms, ratio, difference.

    taskset -c 0,1 python benchmarks/against_onnxruntime.py

XLA draws a JAX array, in one piece. onnxruntime runs the file that `metastyle export` writes. The
two take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import tempfile
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before it is imported

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime

from metastyle_jax.export import exporting
from metastyle_jax.runtime import huge_pages, in_turns
from metastyle_jax.stylization import loading


def main() -> None:
    huge_pages.begin_again()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[256, 512], help="pixels")
    parser.add_argument("--repeat", type=int, default=9)
    args = parser.parse_args()
    # the file leaves the noise to who runs it
    stylizer = dataclasses.replace(loading.load("pack:starry_night"), input_noise=0.0)
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "starry_night.onnx"
        exporting.export_stylizer(stylizer, file, "onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options)
    print(
        f"{platform.node()}, {threads} threads, jax {jax.__version__}, "
        f"onnxruntime {onnxruntime.__version__}\n"
    )
    print(
        "| px | XLA | onnxruntime | onnxruntime / XLA | largest difference |\n|---|---|---|---|---|"
    )
    for size in args.size:
        x = np.random.default_rng(0).random((1, size, size, 3), np.float32)
        on_device, feed = jnp.asarray(x), {"images": x.transpose(0, 3, 1, 2)}
        ways = (
            lambda: np.asarray(stylizer(on_device)),  # noqa: B023
            lambda: session.run(None, feed)[0].transpose(0, 2, 3, 1),  # noqa: B023
        )
        difference = np.abs(ways[0]() - ways[1]()).max()
        ours, theirs = (1e3 * seconds for seconds in in_turns.medians(ways, args.repeat))
        print(f"| {size} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    main()
