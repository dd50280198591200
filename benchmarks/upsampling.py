"""Nearest-neighbour against bilinear upsampling: seconds of the network, in turns in one run.

python benchmarks/upsampling.py --size 256
"""

from __future__ import annotations

import argparse
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import compilation, transformer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    print(f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}: {args}")
    shape = (args.images, args.size, args.size, 3)
    images = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    print("| | nearest | bilinear | bilinear / nearest |")
    print("|---|---|---|---|")
    for name, function in {"forward": transformer.stylize, "gradient": gradient}.items():
        programs = [compile_for(function, upsampling, images) for upsampling in ORDER]
        nearest, bilinear = in_turns(programs, args.repeat)
        print(
            f"| {name} | {nearest * 1e3:.0f} ms | {bilinear * 1e3:.0f} ms "
            f"| {bilinear / nearest:.2f} |",
            flush=True,
        )


ORDER = ("nearest", "bilinear")


def gradient(weights, style, images):
    """Of a loss of the output with respect to all parameters."""

    def loss(weights, style):
        return jnp.square(transformer.stylize(weights, style, images) - 0.3).sum()

    return jax.grad(loss, argnums=(0, 1))(weights, style)


def compile_for(function, upsampling, images):
    """A call without arguments."""
    params = transformer.init(jax.random.key(0), upsampling=upsampling)
    arguments = (params["weights"], params["style"], images)
    compiled = compilation.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def in_turns(programs, repeat: int) -> list[float]:
    """Median seconds of each, after a first run."""
    times = [[] for _ in programs]
    for _ in range(repeat + 1):
        for program, measured in zip(programs, times, strict=True):
            start = time.perf_counter()
            program()
            measured.append(time.perf_counter() - start)
    return [float(np.median(measured[1:])) for measured in times]


if __name__ == "__main__":
    main()
