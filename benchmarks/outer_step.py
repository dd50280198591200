"""Seconds, compile seconds and bytes of one outer step, per estimator, side by side in one run.

python benchmarks/outer_step.py --features vgg16 --size 128 --styles 1 --contents 1
"""

from __future__ import annotations

import argparse
import functools
import platform
import time

import jax
import numpy as np
import optax

from metastyle_jax import bilevel
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import stylization_network
from metastyle_jax.runtime import compilation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="compact")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--styles", type=int, default=1)
    parser.add_argument("--contents", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1, help="inner steps T")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--loop", action="store_true", help="inner steps as a loop too")
    args = parser.parse_args()
    print(f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}: {args}")
    print("| estimator | inner loop | step | compile | temporary |")
    print("|---|---|---|---|---|")
    for unroll in (True, False) if args.loop else (True,):
        for name, estimator in bilevel.ESTIMATORS.items():
            seconds, compiling, size = measure(args, estimator, unroll)
            form = "unrolled" if unroll else "loop"
            print(
                f"| {name} | {form} | {seconds * 1e3:.0f} ms | {compiling:.1f} s "
                f"| {size / 1e6:.0f} MB |",
                flush=True,
            )


def measure(
    args: argparse.Namespace, estimator: bilevel.Estimator, unroll: bool
) -> tuple[float, float, int]:
    """(median seconds of a step, seconds of its compilation, temporary bytes)."""
    objective = perceptual.Objective()
    network = registry.load(args.features, objective.layers)
    random = np.random.default_rng(0)
    batch = Batch(
        *(
            random.uniform(size=(count, args.size, args.size, 3)).astype(np.float32)
            for count in (args.styles, args.contents, args.contents)
        )
    )
    optimizer = optax.adam(1e-5)
    params = MetaParameters(**stylization_network.init(jax.random.key(0)))
    state = outer_step.init_state(params, optimizer)
    task = StyleTask(objective, network)
    step = functools.partial(
        outer_step.train_step,
        loop=InnerLoop(
            steps=args.steps,
            estimator=estimator,
            unroll=unroll,
            optimizer=lambda step, rates: optax.sgd(1e-5),
        ),
        outer_optimizer=optimizer,
    )
    start = time.perf_counter()
    compiled = compilation.jit(step).lower(state, batch, task).compile()
    compiling = time.perf_counter() - start
    times = []
    for _ in range(args.repeat + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(state, batch, task))
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:])), compiling, compiled.memory_analysis().temp_size_in_bytes


if __name__ == "__main__":
    main()
