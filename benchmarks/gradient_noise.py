"""What averaging over tasks buys: noise of the meta-gradient against the bias of first order.

    python benchmarks/gradient_noise.py --content=PHOTOGRAPHS --style=ARTWORKS --json=FILE

The meta-gradient of each of many tasks (a style with its contents) is computed alone, exact and
first order. All figures come from their inner products, so that batches of any size are drawn from
the same tasks:

two batches: the cosine of the means of two batches that share no task. It is 1 without noise.
first order: the cosine of the first-order mean of a batch to the exact mean of the same batch.
normalized: as "two batches", but each array of a task's gradient is first divided by its root mean
square (config.outer.combine).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import result_files

from configs import embedded
from metastyle_jax import bilevel
from metastyle_jax.metalearning import outer_step
from metastyle_jax.settings import configuration, construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import meta_training, program, training_pictures

ESTIMATORS = ("exact", "first_order")
DRAWS = 200  # batches that each figure is a mean over
INNER = {"inner.learning_rate": 3.0, "inner.clip": 0.3, "inner.steps": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", default="procedural:64")
    parser.add_argument("--style", default="procedural:128")
    parser.add_argument("--init", default="embedded", help="where the network comes from")
    parser.add_argument("--features", default="vgg16")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--tasks", type=int, default=128)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = make_config(args)
    print(f"{platform.node()}, {os.cpu_count()} cores, jax {jax.__version__}, {args.init}")
    arrays = gradients(config, args.tasks)
    table = rows(inner_products(arrays), args.tasks)
    print("| tasks | two batches | two batches, normalized | first order |\n|---|---|---|---|")
    for row in table:
        print("| " + " | ".join([str(row["tasks"]), *(f"{row[k]:.3f}" for k in COLUMNS)]) + " |")
    result_files.add_result(args.json, f"gradient noise {args.init}", table)


COLUMNS = ("two batches", "normalized", "first order")


def make_config(args: argparse.Namespace) -> Settings:
    """configs/embedded.py with one inner step, one task a step, without a predictor."""
    changes: dict[str, Any] = {
        "data.content": args.content,
        "data.style": args.style,
        "data.image_size": args.size,
        "features.network": args.features,
        "model.init": args.init,
        "model.predictor": 0,
        "batch.styles": 1,
        **INNER,
    }
    return configuration.changed(embedded.get_config(), changes)


def gradients(config: Settings, tasks: int) -> dict[str, list[np.ndarray]]:
    """By estimator, for each array of the weights: (tasks, its size) float32."""
    params = construction.init_params(config, jax.random.key(config.seed))
    params = meta_training.trained_params(config.model.init, params)
    task, loop = jax.device_put(program.load_task(config)), construction.make_inner_loop(config)
    sources = training_pictures.open_sources(config)
    batches = training_pictures.batches(config, sources, 0, config.seed)
    computed = {
        name: jax.jit(
            functools.partial(
                outer_step.outer_gradient,
                loop=dataclasses.replace(loop, estimator=bilevel.ESTIMATORS[name]),
            )
        )
        for name in ESTIMATORS
    }
    arrays: dict[str, list[np.ndarray]] = {}
    begin = time.perf_counter()
    for number in range(tasks):
        batch = next(batches)
        for name, compute in computed.items():
            gradient, _ = compute(params, np.int32(number), batch, task)
            leaves = jax.tree.leaves(jax.device_get(gradient.network))
            rows = arrays.setdefault(name, [np.zeros((tasks, leaf.size), "f") for leaf in leaves])
            for row, leaf in zip(rows, leaves, strict=True):
                row[number] = leaf.ravel()
        if number % 16 == 15:
            print(f"{number + 1} of {tasks} tasks, {time.perf_counter() - begin:.0f} s", flush=True)
    return arrays


def inner_products(arrays: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """(tasks, tasks) float64: "exact", "cross" (first order with exact), "first_order",
    "normalized"."""
    products: dict[str, np.ndarray] = {}
    for exact, first in zip(*(arrays[name] for name in ESTIMATORS), strict=True):
        size = np.sqrt(np.mean(np.square(exact), axis=1, keepdims=True)) + 1e-30
        # as `task_gradients.normalized`: back to the mean size, so that arrays keep their weight
        normal = exact / size * size.mean()
        parts = {
            "exact": (exact, exact),
            "first_order": (first, first),
            "cross": (first, exact),
            "normalized": (normal, normal),
        }
        for name, (one, other) in parts.items():
            products[name] = products.get(name, 0) + np.float64(one @ other.T)
    return products


def rows(products: Mapping[str, np.ndarray], tasks: int) -> list[dict[str, float]]:
    """A row for each number of tasks, a power of 2 that leaves room for two batches."""
    random, table = np.random.default_rng(0), []
    count = 1
    while 2 * count <= tasks:
        orders = [random.permutation(tasks) for _ in range(DRAWS)]
        batches = [(order[:count], order[count : 2 * count]) for order in orders]
        figures = {
            "two batches": [between(products["exact"], *pair) for pair in batches],
            "normalized": [between(products["normalized"], *pair) for pair in batches],
            "first order": [bias(products, first) for first, _ in batches],
        }
        means = {name: float(np.mean(values)) for name, values in figures.items()}
        table.append({"tasks": count, **means})
        count *= 2
    return table


def between(product: np.ndarray, first: np.ndarray, other: np.ndarray) -> float:
    """Cosine of the means over two batches of tasks."""
    norms = (product[np.ix_(part, part)].sum() for part in (first, other))
    return product[np.ix_(first, other)].sum() / np.sqrt(np.prod(list(norms)))


def bias(products: Mapping[str, np.ndarray], tasks: np.ndarray) -> float:
    """Cosine of the first-order to the exact mean over the same tasks."""
    part = np.ix_(tasks, tasks)
    norms = products["exact"][part].sum() * products["first_order"][part].sum()
    return products["cross"][part].sum() / np.sqrt(norms)


if __name__ == "__main__":
    main()
