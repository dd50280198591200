"""Tune one weight decay per feature by exact meta-gradients. No images, no neural network.

    python examples/weight_decay.py

A logistic regression is trained with T steps of momentum SGD. Of its 12 features 4 tell the class,
4 tell it in the training data only, and 4 are noise. Only the validation loss can show which ones
need a large weight decay. So the validation loss is differentiated by the logarithms of the 12
weight decays, through all training steps.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metastyle_jax import bilevel

KINDS = ("informative", "spurious", "noise")  # of the features, 4 of each


def make_data(rows: int, *, seed: int, spurious: float) -> dict[str, jax.Array]:
    """Features (rows, 12) and labels -1 or 1 (rows,). `spurious` is the strength of the leak."""
    random = np.random.default_rng(seed)
    labels = random.choice([-1.0, 1.0], rows)
    strength = np.repeat([0.4, spurious, 0.0], 4)
    features = random.standard_normal((rows, 12)) + labels[:, None] * strength
    return {"features": jnp.asarray(features), "labels": jnp.asarray(labels)}


def logistic_loss(weights: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
    return jax.nn.softplus(-data["labels"] * (data["features"] @ weights)).mean()


def training_loss(weights: jax.Array, log_decay: jax.Array, data: dict[str, jax.Array]):
    """The inner loss: the weights are fast, the log weight decays are slow."""
    penalty = (jnp.exp(log_decay) * jnp.square(weights)).sum() / 2
    return logistic_loss(weights, data) + penalty, ()


def validation_loss(log_decay, training, validation, *, estimator: str, steps: int) -> jax.Array:
    """The outer loss: of the weights after `steps` steps from zero."""
    weights, _ = bilevel.inner_loop(
        training_loss,
        jnp.zeros_like(log_decay),
        log_decay,
        training,
        optimizer=optax.sgd(0.5, momentum=0.9),
        steps=steps,
        estimator=bilevel.ESTIMATORS[estimator],
    )
    return logistic_loss(weights, validation)


@functools.cache
def gradient_fn(estimator: str, steps: int):
    """(log_decay, training, validation) -> (validation loss, its gradient), compiled."""
    loss_fn = functools.partial(validation_loss, estimator=estimator, steps=steps)
    return jax.jit(jax.value_and_grad(loss_fn))


def temporary_bytes(estimator: str, steps: int, *arguments) -> int:
    """Memory that the compiled meta-gradient needs beside its inputs and outputs."""
    program = gradient_fn(estimator, steps).lower(*arguments).compile()
    return program.memory_analysis().temp_size_in_bytes


def check_gradient(steps: int, *arguments) -> tuple[float, float]:
    """Relative differences of `exact` from `reverse` and from central differences."""
    exact, reverse = (gradient_fn(name, steps)(*arguments)[1] for name in ("exact", "reverse"))
    log_decay, *data = arguments
    direction = jnp.asarray(np.random.default_rng(2).standard_normal(log_decay.shape))
    at = [gradient_fn("exact", steps)(log_decay + h * direction, *data)[0] for h in (1e-4, -1e-4)]
    difference = (at[0] - at[1]) / 2e-4
    against_reverse = jnp.linalg.norm(exact - reverse) / jnp.linalg.norm(reverse)
    return float(against_reverse), float(abs(exact @ direction / difference - 1))


def tune(log_decay, training, validation, *, steps: int, outer_steps: int) -> jax.Array:
    """The logarithms of the weight decays after `outer_steps` steps of Adam."""
    optimizer = optax.adam(0.2)
    state = optimizer.init(log_decay)
    for _ in range(outer_steps):
        _, gradient = gradient_fn("exact", steps)(log_decay, training, validation)
        updates, state = optimizer.update(gradient, state)
        log_decay = optax.apply_updates(log_decay, updates)
    return log_decay


def main(rows: int = 20_000, steps: int = 100, outer_steps: int = 50, counts=(10, 100, 1000)):
    training = make_data(rows, seed=0, spurious=0.4)
    validation, test = (make_data(rows, seed=seed, spurious=0.0) for seed in (1, 2))
    start = jnp.full(12, jnp.log(1e-3))
    arguments = (start, training, validation)

    reverse, finite = check_gradient(steps, *arguments)
    print(f"meta-gradient through {steps} steps: relative difference of exact from")
    print(f"  reverse             {reverse:.1e}")
    print(f"  central differences {finite:.1e}")
    print("temporary memory at     " + "".join(f"{f'T = {count}':>12}" for count in counts))
    for name in ("exact", "reverse", "reverse_remat"):
        sizes = [temporary_bytes(name, count, *arguments) / 1e6 for count in counts]
        print(f"  of {name:<19}" + "".join(f"{size:>9.2f} MB" for size in sizes))

    tuned = tune(*arguments, steps=steps, outer_steps=outer_steps)
    for name, data in (("validation", validation), ("test", test)):
        before, after = (gradient_fn("exact", steps)(d, training, data)[0] for d in (start, tuned))
        print(f"{name} loss {before:.4f} before, {after:.4f} after {outer_steps} outer steps")
    for kind, decay in zip(KINDS, jnp.exp(tuned).reshape(3, 4), strict=True):
        print(f"  weight decay of {kind} features: " + " ".join(f"{x:.2g}" for x in decay))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
