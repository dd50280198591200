"""MAML on sinusoids (Finn et al. 2017, section 5.1), with data parallelism.

    python examples/sinusoid_maml.py

A task is one sinusoid: regress it from 10 points. Meta-training learns the start of a small
network, from which one gradient step on these points fits the sinusoid. The tasks of a batch are
shared among 4 devices, virtual ones on a CPU. Second order (`exact`) against first order.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from metastyle_jax import bilevel

INNER_RATE, POINTS = 0.01, 10


def make_tasks(count: int, seed: int) -> dict[str, np.ndarray]:
    """x and y (count, 2, POINTS, 1): the points to adapt to and the points to be judged by."""
    random = np.random.default_rng(seed)
    amplitude = random.uniform(0.1, 5, (count, 1, 1, 1))
    phase = random.uniform(0, np.pi, (count, 1, 1, 1))
    x = random.uniform(-5, 5, (count, 2, POINTS, 1))
    y = amplitude * np.sin(x - phase)
    return {"x": x.astype("float32"), "y": y.astype("float32")}


def init(seed: int = 0, width: int = 40) -> list[dict[str, jax.Array]]:
    """A network of three layers, whose parameters are all fast."""
    random, sizes = np.random.default_rng(seed), (1, width, width, 1)
    return [
        {
            "kernel": jnp.asarray(random.normal(0, a**-0.5, (a, b)), "float32"),
            "bias": jnp.zeros((1, b), "float32"),
        }
        for a, b in itertools.pairwise(sizes)
    ]


def squared_error(layers, slow, points):
    """The inner loss. There are no slow parameters here."""
    del slow
    x = points["x"]
    for layer in layers[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    output = x @ layers[-1]["kernel"] + layers[-1]["bias"]
    return jnp.square(output - points["y"]).mean(), ()


def task_loss(start, task, *, steps: int, estimator=bilevel.exact) -> jax.Array:
    """The error on the second points after `steps` steps on the first."""
    adapt_to, judged_by = (jax.tree.map(lambda leaf: leaf[i], task) for i in (0, 1))  # noqa: B023
    layers, _ = bilevel.inner_loop(
        squared_error,
        start,
        (),
        adapt_to,
        optimizer=optax.sgd(INNER_RATE),
        steps=steps,
        estimator=estimator,
    )
    return squared_error(layers, (), judged_by)[0]


def meta_loss(start, tasks, **options) -> jax.Array:
    """The mean of `task_loss` over the tasks of a batch."""
    return jax.vmap(lambda task: task_loss(start, task, **options))(tasks).mean()


def parallel_gradient(devices, **options):
    """(start, tasks) -> the gradient of `meta_loss`, each device with its share of the tasks."""
    everywhere, shared = PartitionSpec(), PartitionSpec("data")

    def replica(start, tasks):
        gradient = jax.grad(functools.partial(meta_loss, **options))(start, tasks)
        return jax.lax.pmean(gradient, "data")

    mesh = jax.sharding.Mesh(np.asarray(devices), ("data",))
    specs = {"in_specs": (everywhere, shared), "out_specs": everywhere}
    return jax.jit(jax.shard_map(replica, mesh=mesh, check_vma=False, **specs))


def train(estimator, *, outer_steps: int, tasks: int = 24) -> list[dict[str, jax.Array]]:
    """The start after `outer_steps` steps of Adam, each on other tasks."""
    gradient_fn = parallel_gradient(jax.devices(), steps=1, estimator=estimator)
    start, optimizer = init(), optax.adam(3e-3)
    update, state = jax.jit(optimizer.update), optimizer.init(start)
    for step in range(outer_steps):
        gradient = gradient_fn(start, make_tasks(tasks, seed=step))
        updates, state = update(gradient, state)
        start = optax.apply_updates(start, updates)
    return start


def main(outer_steps: int = 2000) -> None:
    test = make_tasks(600, seed=1_000_000)
    print(f"{len(jax.devices())} devices; mean squared error on 600 new sinusoids after")
    print("  start                       0 steps   1 step   5 steps")
    starts = {"random": init()}
    for name in ("first_order", "exact"):
        starts[name] = train(bilevel.ESTIMATORS[name], outer_steps=outer_steps)
    loss_fns = [jax.jit(functools.partial(meta_loss, steps=steps)) for steps in (0, 1, 5)]
    for name, start in starts.items():
        losses = [loss_fn(start, test) for loss_fn in loss_fns]
        print(f"  {name:<26}" + "".join(f"{loss:>9.3f}" for loss in losses))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    main()
