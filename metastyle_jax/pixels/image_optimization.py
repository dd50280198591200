"""Optimization of the pixels of a picture (Gatys et al. 2016) under any style loss.

It is slow, and the bound that fast networks are compared with. N pictures of one size are optimized
in one program. Their losses are added, and each has its own optimizer state.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.pixels import pixel_optimizers
from metastyle_jax.runtime import compilation


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("objective", "learning_rate", "seed"),
    meta_fields=("steps", "optimizer", "steps_per_call"),
)
@dataclasses.dataclass(frozen=True)
class OptimizationSettings:
    """How to optimize. A pytree: weights, rate and seed are data of the compiled program.

    Attributes:
      objective: what is minimized. Its weights hold for all pictures; `weigh` sets others for each.
      steps: of the optimizer.
      optimizer: a key of `pixel_optimizers.OPTIMIZERS`.
      learning_rate: of the optimizer.
      steps_per_call: steps in one call of the compiled program; 0 for 1 on CPU, where XLA has no
        fast convolutions inside loops, and 25 elsewhere.
      seed: of what a random style loss draws.
    """

    objective: perceptual.Objective
    steps: int = 500
    optimizer: str = "adam"
    learning_rate: float = 0.02
    steps_per_call: int = 0
    seed: int = 0


class Targets(NamedTuple):
    """Of N pictures: `perceptual.content_targets`, `perceptual.style_targets`, leaves (N, ...)."""

    contents: perceptual.Targets
    styles: perceptual.Targets


class State(NamedTuple):
    """Everything that a run needs to continue.

    Attributes:
      images: (N, H, W, 3) in [0, 1].
      opt_state: leaves (N, ...).
      step: number of steps so far.
    """

    images: jax.Array
    opt_state: Any
    step: int


Metrics = dict[str, np.ndarray]
OnCall = Callable[[State, Metrics, float], None]
Pictures = Sequence[np.ndarray] | np.ndarray  # (H, W, 3) each


def make_targets(
    objective: perceptual.Objective,
    network: FeatureNetwork,
    contents: Pictures,
    styles: Pictures,
) -> Targets:
    """Targets of N pairs.

    Args:
      objective: what is compared.
      network: the feature network.
      contents: N pictures (H, W, 3) in [0, 1] of one size.
      styles: N pictures (h, w, 3) in [0, 1]; of any sizes, but of one size for losses that keep
        the features themselves ("gaussian", "sliced_wasserstein").
    """
    made = [_style_targets(style[None], network, objective=objective) for style in styles]
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *made)
    return Targets(_content_targets(np.stack(list(contents)), network, objective=objective), joined)


@compilation.jit
def _content_targets(
    images: jax.Array, network: FeatureNetwork, *, objective: perceptual.Objective
):
    return perceptual.content_targets(objective, network, images)


@compilation.jit
def _style_targets(images: jax.Array, network: FeatureNetwork, *, objective: perceptual.Objective):
    return perceptual.style_targets(objective, network, images)


def weigh(
    targets: Targets, *, contents: np.ndarray | float = 1.0, styles: Mapping[str, Any] | Any = 1.0
) -> Targets:
    """Targets with other weights for each picture.

    Args:
      targets: of N pictures.
      contents: (N,) or a number.
      styles: the same, or one such per layer: `{"relu1_2": (N,), ...}`.
    """

    def scaled(target: dict[str, Any], factor: Any) -> dict[str, Any]:
        return {**target, "scale": target["scale"] * jnp.asarray(factor, target["scale"].dtype)}

    def of_layer(layer: str) -> Any:
        return styles[layer] if isinstance(styles, Mapping) else styles

    return Targets(
        {layer: scaled(target, contents) for layer, target in targets.contents.items()},
        {layer: scaled(target, of_layer(layer)) for layer, target in targets.styles.items()},
    )


def gaussian_noise(shape: Sequence[int], seed: int) -> np.ndarray:
    """Gray pictures (N, H, W, 3) under Gaussian noise of standard deviation 0.2, in [0, 1]."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return np.clip(0.5 + 0.2 * values, 0, 1).astype(np.float32)


def balance(
    objective: perceptual.Objective,
    network: FeatureNetwork,
    contents: np.ndarray,
    targets: Targets,
    *,
    seed: int = 0,
) -> np.ndarray:
    """`perceptual.balance` of N pairs, (N,).

    It is measured on the mean of each content and of noise, because at the content itself the
    gradient of the content loss is zero.
    """
    hidden = (contents + gaussian_noise(contents.shape, seed)) / 2
    return np.asarray(_balance(hidden, targets, network, np.int32(seed), objective=objective))


@compilation.jit
def _balance(
    images: jax.Array,
    targets: Targets,
    network: FeatureNetwork,
    seed: jax.Array,
    *,
    objective: perceptual.Objective,
) -> jax.Array:
    return perceptual.balance(objective, network, images, *targets, jax.random.key(seed))


def start(images: np.ndarray, settings: OptimizationSettings) -> State:
    """The state before the first step from `images` (N, H, W, 3) in [0, 1]."""
    pixels = jnp.asarray(images)
    return State(pixels, jax.vmap(_optimizer(settings).init)(pixels), 0)


def optimize(
    state: State,
    targets: Targets,
    network: FeatureNetwork,
    settings: OptimizationSettings,
    *,
    on_call: OnCall = lambda state, metrics, seconds: None,
    every: Iterable[int] = (),
) -> State:
    """Take the steps from `state.step` to `settings.steps`.

    Args:
      state: from `start`, or one that an earlier run reached.
      targets: of the N pictures.
      network: the feature network.
      settings: objective, steps and optimizer.
      on_call: called after each call of the compiled program with the state, the metrics {"loss",
        "content", "style"}, each (N,), before its last step, and the seconds since the end of the
        first step, which compiles.
      every: numbers of steps; a call ends at each of their multiples.

    Raises:
      UserError: the loss of a picture is not finite.
    """
    size = settings.steps_per_call or (1 if jax.default_backend() == "cpu" else 25)
    # the number of steps is no part of the program
    of_program = dataclasses.replace(settings, steps=0)
    numbers, began = tuple(every), None
    while state.step < settings.steps:
        ends = (number - state.step % number for number in numbers)
        count = min(1 if began is None else size, settings.steps - state.step, *ends)
        images, opt_state, metrics = _take_steps(
            state.images,
            state.opt_state,
            np.int32(state.step),
            targets,
            network,
            of_program,
            np.int32(count) if size > 1 else None,
        )
        state = State(images, opt_state, state.step + count)
        values = jax.device_get(metrics)
        if not np.isfinite(values["loss"]).all():
            raise UserError(
                f"the loss is not finite at step {state.step}: lower the learning rate "
                f"(now {settings.learning_rate:g})"
            )
        now = time.perf_counter()
        began = now if began is None else began
        on_call(state, values, now - began)
    return state


@compilation.jit
def _take_steps(
    images: jax.Array,
    opt_state: Any,
    step: jax.Array,
    targets: Targets,
    network: FeatureNetwork,
    settings: OptimizationSettings,
    count: jax.Array | None,
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    """`count` steps in a loop, () int32, so that another number compiles nothing; None for one."""

    def take(number: jax.Array, carry: tuple[jax.Array, Any, dict[str, jax.Array]]):
        images, opt_state, _ = carry
        after, metrics = optimization_step(
            images, opt_state, step + number, targets, network, settings
        )
        return *after, metrics

    start = (images, opt_state, {})
    if count is None:
        return take(jnp.int32(0), start)
    metrics = jax.tree.map(jnp.zeros_like, jax.eval_shape(take, jnp.int32(0), start)[-1])
    return jax.lax.fori_loop(0, count, take, (images, opt_state, metrics))


def optimization_step(
    images: jax.Array,
    opt_state: Any,
    step: jax.Array,
    targets: Targets,
    network: FeatureNetwork,
    settings: OptimizationSettings,
) -> tuple[tuple[jax.Array, Any], dict[str, jax.Array]]:
    """One step: ((images, opt_state), metrics before it). `step`, () int32, seeds random losses."""
    # L-BFGS compares gradients of successive steps: they must be those of one function
    drawn = 0 if settings.optimizer == "lbfgs" else step
    key = jax.random.fold_in(jax.random.key(settings.seed), drawn)

    def loss_fn(images: jax.Array):
        total, parts = perceptual.perceptual_loss(
            settings.objective, network, images, *targets, key
        )
        return total.sum(), {"loss": total, **parts}

    gradient, metrics = jax.grad(loss_fn, has_aux=True)(images)
    update = jax.vmap(_optimizer(settings).update)
    updates, opt_state = update(gradient, opt_state, images)
    return (jnp.clip(images + cast(jax.Array, updates), 0, 1), opt_state), metrics


def _optimizer(settings: OptimizationSettings) -> optax.GradientTransformation:
    return pixel_optimizers.OPTIMIZERS[settings.optimizer](settings.learning_rate)
