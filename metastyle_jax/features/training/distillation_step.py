"""One training step of the compact feature network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.features.training import distortion, student, teachers
from metastyle_jax.runtime import compilation


@flax.struct.dataclass
class DistillationState:
    """State of the training.

    Attributes:
      step: () int32, number of steps done.
      params: see `student.init`.
      opt_state: of Adam.
    """

    step: jax.Array
    params: student.Params
    opt_state: Any


@functools.cache
def make_optimizer(*, peak: float, warmup: int, steps: int) -> optax.GradientTransformation:
    """Adam with clipping and a cosine schedule; cached, so that programs compile once.

    Args:
      peak: largest learning rate.
      warmup: steps of linear increase to `peak`.
      steps: after which the rate is 0.
    """
    rate = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


@functools.partial(
    compilation.jit,
    static_argnames=("optimizer", "contrast_weight", "seed"),
    donate_argnames="state",
)
def train_step(
    state: DistillationState,
    images: jax.Array,
    teaching: teachers.Weights,
    scales: Mapping[str, teachers.Scale],
    *,
    optimizer: optax.GradientTransformation,
    contrast_weight: float,
    seed: int,
) -> tuple[DistillationState, dict[str, jax.Array]]:
    """One step of Adam; `state` is donated.

    Args:
      state: before the step.
      images: (2 N, H, W, 3) in [0, 1], two crops of each picture after one another.
      teaching: weights of the teachers.
      scales: see `teachers.measure`.
      optimizer: see `make_optimizer`.
      contrast_weight: see `student.loss`.
      seed: of the distortions.

    Returns:
      (state after the step, metrics of `student.loss`).
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    distorted = distortion.distort(key, images[::2])
    images = jnp.concatenate([images, distorted])
    targets = teachers.targets(teaching, images, scales)

    def loss_fn(params: student.Params) -> tuple[jax.Array, dict[str, jax.Array]]:
        return student.loss(
            params,
            images,
            targets,
            teachers.heads(teaching),
            teachers.copied(teaching),
            distorted=len(distorted),
            contrast_weight=contrast_weight,
        )

    grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state)
    params = cast(student.Params, optax.apply_updates(state.params, updates))
    return DistillationState(state.step + 1, params, opt_state), metrics
