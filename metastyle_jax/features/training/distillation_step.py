"""One training step of the distilled feature network."""

from __future__ import annotations

import functools
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.features.training import distortion, drawn_pictures, student
from metastyle_jax.features.training.drawn_pictures import DrawnPictures
from metastyle_jax.networks import vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import compilation


@flax.struct.dataclass
class DistillationState:
    """State of the training.

    Attributes:
      step: () int32, number of steps done.
      params: weights of the student in units of `student.scales`.
      opt_state: of Adam.
      drawn: pictures that are being optimized for the student.
    """

    step: jax.Array
    params: vgg.FeatureWeights
    opt_state: Any
    drawn: DrawnPictures


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
    static_argnames=("optimizer", "gram_weight", "drawing_steps", "distorted", "seed"),
    donate_argnames="state",
)
def train_step(
    state: DistillationState,
    contents: jax.Array,
    styles: jax.Array,
    teacher: FeatureNetwork,
    scales: student.Features,
    *,
    optimizer: optax.GradientTransformation,
    gram_weight: float,
    drawing_steps: int,
    distorted: int,
    seed: int,
) -> tuple[DistillationState, dict[str, jax.Array]]:
    """One step of Adam; `state` is donated.

    Args:
      state: before the step.
      contents, styles: (C, H, W, 3) and (S, H, W, 3) in [0, 1].
      teacher: VGG-16.
      scales: see `student.scales`.
      optimizer: see `make_optimizer`.
      gram_weight: see `student.loss`.
      drawing_steps: steps of the pixels for each step of the network.
      distorted: how many of the styles are seen distorted too.
      seed: of the distortions.

    Returns:
      (state after the step, metrics of `student.loss`).
    """
    drawn = drawn_pictures.replace_one(state.drawn, state.step, contents[0], styles[0])
    drawn = drawn_pictures.optimize(drawn, student.scaled(state.params, scales), drawing_steps)
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    bent = distortion.distort(key, styles[:distorted])
    images = jnp.concatenate([contents, styles, bent, drawn.images])
    targets = teacher.extract(images, student.LAYERS)

    def loss_fn(weights: vgg.FeatureWeights) -> tuple[jax.Array, dict[str, jax.Array]]:
        return student.loss(
            student.scaled(weights, scales),
            images,
            targets,
            drawn=len(drawn.images),
            gram_weight=gram_weight,
        )

    grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state)
    params = cast(vgg.FeatureWeights, optax.apply_updates(cast(Any, state.params), updates))
    return DistillationState(state.step + 1, params, opt_state, drawn), metrics
