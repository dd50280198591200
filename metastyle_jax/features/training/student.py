"""Loss of the small feature network: it predicts its teacher's features and their Gram matrices.

Both errors are relative to what the teacher sees, as the perceptual objective is (`normalize`): a
channel counts as much as it does there.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.losses import style_losses
from metastyle_jax.networks import vgg
from metastyle_jax.networks.feature_network import FeatureNetwork

# that can be trained; all have the layers and the pooling of the first
ARCHITECTURES = tuple(vgg.HEADS)
POOLING = vgg.POOLING[ARCHITECTURES[0]]
# all that a perceptual objective may read
LAYERS = tuple(name.replace("conv", "relu") for name in vgg.conv_names(ARCHITECTURES[0]))
TINY = 1e-6  # of a mean square

Features = Mapping[str, jax.Array]


def init(key: jax.Array, architecture: str) -> vgg.FeatureWeights:
    """Orthogonal filters with the gain of a ReLU; heads that predict about half a `scale`.

    Args:
      key: decides the filters.
      architecture: one of `ARCHITECTURES`.

    Returns:
      Weights in units of `scales`, see `scaled`; float32.
    """
    shapes = vgg.weight_shapes(architecture, LAYERS)
    orthogonal = jax.nn.initializers.orthogonal(scale=np.sqrt(2.0))
    network = {}
    for key_of_one, (name, shape) in zip(
        jax.random.split(key, len(shapes)), shapes.items(), strict=True
    ):
        head = name.startswith("head")
        kernel = orthogonal(key_of_one, shape["kernel"].shape, jnp.float32)
        # a ReLU that is 0 everywhere would never learn
        bias = jnp.full(shape["bias"].shape, 0.5 if head else 0.0)
        network[name] = {"kernel": 0.5 * kernel if head else kernel, "bias": bias}
    return network


def scales(seen: Features) -> Features:
    """Root mean square of each channel, (C,) by layer, of features of the teacher (N, h, w, C)."""
    return {layer: jnp.sqrt(jnp.square(x).mean(axis=(0, 1, 2))) + TINY for layer, x in seen.items()}


def scaled(weights: vgg.FeatureWeights, scales: Features) -> vgg.FeatureWeights:
    """Weights that predict the teacher's features, of weights in units of `scales`.

    Adam moves every weight by about its rate, but channels of VGG-16 differ by orders of magnitude.
    """
    heads = {
        vgg.head_of(layer): {
            "kernel": weights[vgg.head_of(layer)]["kernel"] * scale[None, None, None],
            "bias": weights[vgg.head_of(layer)]["bias"] * scale,
        }
        for layer, scale in scales.items()
    }
    return {**weights, **heads}


def as_network(weights: vgg.FeatureWeights) -> FeatureNetwork:
    """The student, as objectives take it."""
    # the layers decide what is computed, and those are the same in all `ARCHITECTURES`
    return FeatureNetwork(ARCHITECTURES[0], ARCHITECTURES[0], POOLING, weights)


def loss(
    weights: vgg.FeatureWeights,
    images: jax.Array,
    targets: Features,
    *,
    drawn: int = 0,
    gram_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over layers of the relative errors of features and of Gram matrices.

    Args:
      weights: of the student.
      images: (N, H, W, 3) in [0, 1].
      targets: features of the teacher, (N, h, w, C) by layer.
      drawn: how many of the last images gradient descent drew for the student; reported apart.
      gram_weight: of the error of the Gram matrices; that of the features has 1.

    Returns:
      (loss, {"loss", "features", "gram", "drawn features", "drawn gram", and
      "features relu1_1" ...}).
    """
    seen = as_network(weights).extract(images, tuple(targets))
    errors = {layer: _feature_errors(seen[layer], x) for layer, x in targets.items()}
    grams = jnp.stack([_gram_errors(seen[layer], x) for layer, x in targets.items()])
    features = jnp.stack(list(errors.values()))
    total = features.mean() + gram_weight * grams.mean()
    kept = len(images) - drawn
    parts = {
        "loss": total,
        "features": features[:, :kept].mean(),
        "gram": grams[:, :kept].mean(),
    }
    if drawn:
        parts |= {
            "drawn features": features[:, kept:].mean(),
            "drawn gram": grams[:, kept:].mean(),
        }
    return total, parts | {f"features {layer}": x.mean() for layer, x in errors.items()}


def _feature_errors(x: jax.Array, target: jax.Array) -> jax.Array:
    """(N,), relative to the mean square of the layer over the batch."""
    error = jnp.square(x - target).mean(axis=(1, 2, 3))
    return error / (jnp.square(target).mean() + TINY)


def _gram_errors(x: jax.Array, target: jax.Array) -> jax.Array:
    """(N,), relative to each picture's own Gram matrix."""
    ours, theirs = style_losses.gram_matrix(x), style_losses.gram_matrix(target)
    error = jnp.square(ours - theirs).mean(axis=(1, 2))
    return error / (jnp.square(theirs).mean(axis=(1, 2)) + TINY**2)
