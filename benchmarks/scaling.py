"""What an outer step needs on many devices: operations, collectives, and a floor of its time.

    python benchmarks/scaling.py

Counted: the operations of the step of configs/default.py (256 px, VGG-16, one second-order inner
step) as XLA sees them before it compiles, for the part of a batch that one device gets; and the
collectives of a small program compiled for virtual devices. Measured: the seconds of that small
program, whose devices share the cores. Modeled: the floor of the step on accelerators, from their
published rates. docs/scaling.md has what this prints.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import time
from typing import Any

DEVICES = 8  # virtual ones
GRADIENT = 6.717e6  # bytes of the all-reduce, as counted below
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"

import jax  # noqa: E402
import numpy as np  # noqa: E402

from configs import default  # noqa: E402
from metastyle_jax.metalearning.structures import Batch  # noqa: E402
from metastyle_jax.runtime import collectives, sharding  # noqa: E402
from metastyle_jax.settings import configuration, construction  # noqa: E402
from metastyle_jax.settings.schema import Settings  # noqa: E402
from metastyle_jax.training import program, step_memory  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published rates of one device.

    Attributes:
      flops: dense bfloat16 operations per second.
      link: bytes per second to the other devices, in one direction.
      hop: seconds of latency to a neighbor.
      hops: from one end of the longest ring to the other.
    """

    flops: float
    link: float
    hop: float
    hops: int


# H100 SXM: NVIDIA's data sheet, NVLink through a switch. v5e: Google Cloud's documentation, 16 x 16
# chips in a torus, 4 links of 50 GB/s
CHIPS = {
    "8 x H100": (8, Chip(989e12, 450e9, 2e-6, 1)),
    "v5e-256": (256, Chip(197e12, 200e9, 1e-6, 16)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    machine = f"{platform.node()}, {os.cpu_count()} cores, jax {jax.__version__}"
    print(f"{machine}\n\n| devices | styles x contents | split into | all-reduces | MB | ms |")
    print("|---|---|---|---|---|---|")
    for devices, styles, contents in (
        (1, 4, 4), (2, 4, 4), (4, 4, 4), (8, 4, 4), (1, 1, 1), (2, 2, 1), (4, 4, 1), (8, 8, 1),
    ):  # fmt: skip
        print(small(devices, styles, contents, args.repeats), flush=True)
    print(
        "\n| on | a device gets | 10^12 operations | ms for them | ms for the all-reduce | share |"
    )
    print("|---|---|---|---|---|---|")
    counted = {part: count(*part) for part in ((1, 1), (1, 4), (4, 4))}
    for name, (devices, chip) in CHIPS.items():
        for part, flops in counted.items():
            print(modeled(name, devices, chip, part, flops))


def settings(size: int, styles: int, contents: int, features: str) -> Settings:
    config = default.get_config()
    config.data.image_size = size
    config.batch.styles, config.batch.contents = styles, contents
    config.features.network = features
    return configuration.read(config)


def shaped(config: Settings, devices: int) -> tuple[sharding.Parallel, Any]:
    """The outer step on that many devices, and its arguments as shapes."""
    optimizer = construction.make_outer_optimizer(config)
    used = jax.devices()[:devices]
    step = program.wrap_steps(config, optimizer, used)[1]
    return step, step_memory.argument_shapes(config, optimizer, step, used)


def count(styles: int, contents: int) -> float:
    """Operations of the step of configs/default.py on one device.

    Those of the program for GPUs: that for CPUs has Winograd's convolutions, which take fewer.
    """
    step, shapes = shaped(settings(256, styles, contents, "vgg16"), 1)
    lowered = step.step.trace(*shapes).lower(lowering_platforms=("cuda",))
    return lowered.cost_analysis()["flops"]


def small(devices: int, styles: int, contents: int, repeats: int) -> str:
    """One row: a small step compiled for virtual devices."""
    config = settings(32, styles, contents, "compact")
    step, shapes = shaped(config, devices)
    compiled = step.step.lower(*shapes).compile()
    sizes = [each.size for each in collectives.in_program(compiled.as_text())]
    parts = sharding.layout(styles, contents, devices)
    seconds = timed(config, step, compiled, repeats)
    return (
        f"| {devices} | {styles} x {contents} | {parts.styles} x {parts.contents} | {len(sizes)} | "
        f"{sum(sizes) / 1e6:.3f} | {1e3 * seconds:.0f} |"
    )


def timed(config: Settings, step: sharding.Parallel, compiled: Any, repeats: int) -> float:
    """The shortest of some steps, in seconds."""
    optimizer = construction.make_outer_optimizer(config)
    params = construction.init_params(config, jax.random.key(0))
    state = step.replicate(construction.init_state(config, params, optimizer))
    task = step.replicate(program.load_task(config))
    rng = np.random.default_rng(0)
    side = config.data.image_size
    images = [
        rng.uniform(size=(count, side, side, 3)).astype(np.float32)
        for count in (config.batch.styles, config.batch.contents, config.batch.contents)
    ]
    batch = step.place_batch(Batch(*images))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, batch, task))
        times.append(time.perf_counter() - start)
    return min(times)


def modeled(name: str, devices: int, chip: Chip, part: tuple[int, int], flops: float) -> str:
    """One row: milliseconds that operations and the all-reduce take at the published rates."""
    ring = 2 * (devices - 1) / devices * GRADIENT / chip.link + 2 * chip.hops * chip.hop
    compute = flops / chip.flops
    return (
        f"| {name} | {part[0]} x {part[1]} | {flops / 1e12:.2f} | {1e3 * compute:.2f} | "
        f"{1e3 * ring:.2f} | {ring / (compute + ring):.1%} |"
    )


if __name__ == "__main__":
    main()
