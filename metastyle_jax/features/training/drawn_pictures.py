"""Pictures that gradient descent draws for the student while it learns.

A network that predicts its teacher well on pictures may be blind to what gradient descent finds: a
pattern that no picture has, which the student takes for the style and the teacher does not
(docs/results/notebook.md). So some pictures are always being optimized for the student as it is,
and it learns what the teacher sees in them: each step of the training moves them by a few steps of
Adam, and the oldest makes way for a new pair of content and style.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import flax.struct
import jax
import jax.numpy as jnp
import optax

from metastyle_jax.features.training import student
from metastyle_jax.losses import perceptual
from metastyle_jax.networks import vgg

RATE = 0.02  # as in `image_optimization`
# all styles that are in use: those of the papers, and the first of each block
OBJECTIVE = perceptual.Objective(
    content_layers=("relu3_3",),
    style_layers=(
        *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
        *("relu3_1", "relu3_3", "relu4_1", "relu4_3"),
    ),
    style_weight=1.0,
    normalize=True,
)
_ADAM = optax.adam(RATE)


@flax.struct.dataclass
class DrawnPictures:
    """P pictures that are being drawn.

    Attributes:
      images: (P, H, W, 3) in [0, 1].
      contents, styles: (P, H, W, 3), what they are drawn from.
      opt_state: of Adam, leaves (P, ...).
    """

    images: jax.Array
    contents: jax.Array
    styles: jax.Array
    opt_state: optax.OptState


def start(contents: jax.Array, styles: jax.Array) -> DrawnPictures:
    """Each content as it is, before the first step; (P, H, W, 3) each."""
    # a copy: a buffer can be donated once
    return DrawnPictures(contents.copy(), contents, styles, jax.vmap(_ADAM.init)(contents))


def replace_one(
    drawn: DrawnPictures, step: jax.Array, content: jax.Array, style: jax.Array
) -> DrawnPictures:
    """The picture number `step` modulo P begins anew, with (H, W, 3) `content` and `style`."""
    new = start(content[None], style[None])
    number = step % len(drawn.images)
    return jax.tree.map(
        lambda whole, one: jax.lax.dynamic_update_index_in_dim(whole, one[0], number, 0), drawn, new
    )


def optimize(drawn: DrawnPictures, weights: vgg.FeatureWeights, steps: int) -> DrawnPictures:
    """Move the pictures by some steps of Adam on the student's objective."""
    network = student.as_network(weights)
    contents = perceptual.content_targets(OBJECTIVE, network, drawn.contents)
    styles = perceptual.style_targets(OBJECTIVE, network, drawn.styles)

    def loss_fn(images: jax.Array) -> jax.Array:
        return perceptual.perceptual_loss(OBJECTIVE, network, images, contents, styles)[0].sum()

    images, opt_state = drawn.images, drawn.opt_state
    # no lax loop: XLA has no fast convolutions inside loops on CPU
    for _ in range(steps):
        updates, opt_state = jax.vmap(_ADAM.update)(jax.grad(loss_fn)(images), opt_state)
        images = jnp.clip(cast(jax.Array, optax.apply_updates(images, updates)), 0.0, 1.0)
    return dataclasses.replace(drawn, images=images, opt_state=opt_state)
