"""Does a GPU compute what it should: the meta-gradient, and the loss of an outer step.

python benchmarks/gpu_check.py --features vgg16:FILE --json FILE.json

exact_and_reverse: a tiny network, two inner steps, float32 at the highest precision. The two
estimators get the same meta-gradient in different ways, so their relative difference must be of the
order of rounding; first_order, which is another gradient, shows what a difference looks like.

loss: the metrics of an outer step of configs/default.py (fewer and smaller pictures) on the GPU, at
the highest precision, in JAX's default precision and with bfloat16 convolutions, relative to the
same on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import random_parameters
import result_files

from configs import default, smoke
from metastyle_jax import bilevel
from metastyle_jax.metalearning import outer_loss, outer_step
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.structures import Batch, MetaParameters
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.settings import configuration, construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import program

GRADIENT_TOLERANCE = 1e-3  # now and then a ReLU falls the other way
LOSS_TOLERANCE = 1e-3
TINY = {
    "model.width": 8,
    "model.residual_blocks": 0,
    "inner.steps": 2,
    "inner.learning_rate": 0.1,
    "inner.unroll": False,
    "objective.style_layers": ["relu1_2", "relu2_2"],
}


def main() -> None:
    args = parse()
    failures = []
    for name, check in {"exact_and_reverse": exact_and_reverse, "loss": losses}.items():
        result = check(args)
        print(f"{name}: {result}", flush=True)
        result_files.add_result(args.json, name, result)
        failures += [] if result["passed"] else [name]
    if failures:
        raise SystemExit(f"failed: {', '.join(failures)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="compact", help="of the loss")
    parser.add_argument("--size", type=int, default=128, help="of the pictures of the loss")
    parser.add_argument("--count", type=int, default=2, help="styles, and contents")
    parser.add_argument("--width", type=int, default=32, help="of the network of the loss")
    parser.add_argument("--residual-blocks", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def exact_and_reverse(args: argparse.Namespace) -> dict[str, Any]:
    """Relative differences of the meta-gradients of two estimators to that of `reverse`."""
    del args
    config = configuration.changed(smoke.get_config(), TINY)
    task, params, loop = problem(config)
    batch = pictures(2, 32)

    def gradient(name: str) -> np.ndarray:
        estimator = dataclasses.replace(loop, estimator=bilevel.ESTIMATORS[name])
        compute = jax.jit(functools.partial(outer_step.outer_gradient, loop=estimator))
        # a setting of the thread
        with jax.default_matmul_precision("highest"):
            value, _ = compute(params, np.int32(0), batch, task)
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(value)])

    with ThreadPoolExecutor() as threads:  # they compile at once
        reverse, *others = threads.map(gradient, ("reverse", "exact", "first_order"))
    names = ("exact", "first_order")
    difference = {name: relative(other, reverse) for name, other in zip(names, others, strict=True)}
    passed = difference["exact"] < min(GRADIENT_TOLERANCE, difference["first_order"] / 10)
    return {"relative_difference": difference, "passed": bool(passed)}


def losses(args: argparse.Namespace) -> dict[str, Any]:
    """Metrics of one outer step on the CPU, and the relative differences of the GPU's to them."""
    config = loss_config(args)
    dtypes = {"features.dtype": "bfloat16", "model.dtype": "bfloat16"}
    coarse = configuration.changed(config, dtypes)
    gpu, cpu = jax.devices()[0], jax.devices("cpu")[0]
    with ThreadPoolExecutor() as threads:  # see above
        expected = threads.submit(metrics, args, config, "highest", cpu)
        others = {
            "highest": threads.submit(metrics, args, config, "highest", gpu),
            "default": threads.submit(metrics, args, config, None, gpu),
            "bfloat16": threads.submit(metrics, args, coarse, None, gpu),
        }
    wanted = expected.result()
    differences = {
        name: {part: relative(other.result()[part], value) for part, value in wanted.items()}
        for name, other in others.items()
    }
    passed = max(differences["highest"].values()) < LOSS_TOLERANCE
    return {"cpu": wanted, "relative_difference": differences, "passed": passed}


def loss_config(args: argparse.Namespace) -> Settings:
    """configs/default.py with losses of the order of 1, and an inner step that counts."""
    changes = {
        "features.network": args.features,
        "data.image_size": args.size,
        "model.width": args.width,
        "model.residual_blocks": args.residual_blocks,
        "inner.unroll": False,
        "inner.learning_rate": 0.1,
        "objective.normalize": True,
        "objective.style_weight": 2.0,
    }
    return configuration.changed(default.get_config(), changes)


def metrics(
    args: argparse.Namespace, config: Settings, precision: str | None, device: Any
) -> dict[str, float]:
    """Losses of the inner and the outer level of one step on a device."""

    def losses(params: MetaParameters, batch: Batch, task: StyleTask) -> Mapping[str, Any]:
        optimizer = loop.optimizer(jax.numpy.int32(0), None)
        return outer_loss.meta_loss(params, batch, task, loop, optimizer)[1]

    with jax.default_device(device), jax.default_matmul_precision(precision):
        task, params, loop = problem(config)
        values = jax.jit(losses)(params, pictures(args.count, args.size), task)
    return {name: float(value) for name, value in values.items() if "loss" in name}


def problem(config: Settings) -> tuple[StyleTask, MetaParameters, InnerLoop]:
    """Task, random parameters and inner loop of a configuration."""
    shapes = jax.eval_shape(lambda: construction.init_params(config, jax.random.key(0)))
    params = random_parameters.draw(shapes, seed=0)
    return program.load_task(config), params, construction.make_inner_loop(config)


def pictures(count: int, size: int) -> Batch:
    """Squares of 8 pixels in random colors."""
    random = np.random.default_rng(1)
    coarse = random.uniform(size=(3, count, size // 8, size // 8, 3)).astype(np.float32)
    return Batch(*coarse.repeat(8, axis=2).repeat(8, axis=3))


def relative(value: Any, expected: Any) -> float:
    """Norm of the difference in units of the norm of what is expected."""
    return float(np.linalg.norm(np.subtract(value, expected)) / np.linalg.norm(expected))


if __name__ == "__main__":
    main()
