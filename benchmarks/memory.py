"""Temporary bytes of one outer step against the number of inner steps, per estimator.

python benchmarks/memory.py --size 256 --estimators exact reverse --steps 1 2 4 8 16 32

Compiled from shapes, nothing is run. A program that takes longer than --limit to compile ends its
row: more inner steps would take longer still.
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
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import feature_network, stylization_network
from metastyle_jax.runtime import compilation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="vgg16")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--styles", type=int, default=1)
    parser.add_argument("--contents", type=int, default=1)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument(
        "--estimators", nargs="+", default=["exact", "reverse", "reverse_remat", "first_order"]
    )
    parser.add_argument("--unroll", action="store_true", help="inner steps unrolled, not a loop")
    parser.add_argument("--limit", type=float, default=180, help="seconds of one compilation")
    args = parser.parse_args()
    print(f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}: {args}")
    columns = [f"T = {steps}" for steps in args.steps]
    print(f"| estimator | {' | '.join(columns)} | per step | growth |")
    print("|---" * (len(columns) + 3) + "|")
    for name in args.estimators:
        print(row(args, name), flush=True)


def row(args: argparse.Namespace, name: str) -> str:
    """One estimator: MB for each T, kB per further step and growth from the first T to the last."""
    sizes: list[int] = []
    for steps in args.steps:
        start = time.perf_counter()
        sizes.append(temporary_bytes(args, bilevel.ESTIMATORS[name], steps))
        if time.perf_counter() - start > args.limit:
            break
    grown = sizes[-1] - sizes[0]
    added_steps = args.steps[len(sizes) - 1] - args.steps[0]
    cells = [f"{size / 1e6:.2f} MB" for size in sizes] + [""] * (len(args.steps) - len(sizes))
    per_step = f"{grown / added_steps / 1e3:.1f} kB" if added_steps else ""
    return f"| {name} | {' | '.join(cells)} | {per_step} | {100 * grown / sizes[0]:.2f} % |"


def temporary_bytes(args: argparse.Namespace, estimator: bilevel.Estimator, steps: int) -> int:
    """What XLA allocates within one outer step, beside its arguments."""
    objective = perceptual.Objective()
    optimizer = optax.adam(1e-5)
    loop = InnerLoop(
        steps=steps,
        estimator=estimator,
        unroll=args.unroll,
        optimizer=lambda step, rates: optax.sgd(1e-5),
    )
    step = functools.partial(outer_step.train_step, loop=loop, outer_optimizer=optimizer)

    def images(count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, args.size, args.size, 3), np.float32)

    network = feature_network.shapes(args.architecture, objective.layers, pooling="max")
    batch = Batch(images(args.styles), images(args.contents), images(args.contents))

    def init() -> outer_step.TrainState:
        params = MetaParameters(**stylization_network.init(jax.random.key(0)))
        return outer_step.init_state(params, optimizer)

    arguments = (jax.eval_shape(init), batch, StyleTask(objective, network))
    compiled = compilation.jit(step, donate_argnums=0).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes


if __name__ == "__main__":
    main()
