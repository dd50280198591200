"""Loss of the small feature network: regression to teachers, contrast between pictures."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.features import matching
from metastyle_jax.features.training import teachers
from metastyle_jax.networks import vgg

ARCHITECTURE = "compact"
POOLING = vgg.POOLING[ARCHITECTURE]
LAYERS = teachers.LAYERS
LARGEST_SHARPNESS = 100.0  # of the softmax over pictures
FIRST_SHARPNESS = 20.0

Params = dict[str, Any]


def init(key: jax.Array, heads: dict[str, tuple[str, int]]) -> Params:
    """Orthogonal filters (with the gain of a ReLU), heads that predict 0.

    Args:
      key: for `jax.random`.
      heads: see `teachers.heads`.

    Returns:
      {"network": as `vgg.features` takes it, "heads": {name: {"kernel": (in, out), "bias"}},
      "sharpness": its logarithm, ()}, float32.
    """
    shapes = vgg.weight_shapes(ARCHITECTURE, LAYERS)
    orthogonal = jax.nn.initializers.orthogonal(scale=np.sqrt(2.0))
    keys = jax.random.split(key, len(shapes))
    network = {
        conv: {
            "kernel": orthogonal(key, shape["kernel"].shape, jnp.float32),
            "bias": jnp.zeros(shape["bias"].shape, jnp.float32),
        }
        for key, (conv, shape) in zip(keys, shapes.items(), strict=True)
    }
    linear = {
        name: {
            "kernel": jnp.zeros((vgg.width(ARCHITECTURE, layer), outputs)),
            "bias": jnp.zeros(outputs),
        }
        for name, (layer, outputs) in heads.items()
    }
    return {"network": network, "heads": linear, "sharpness": jnp.log(FIRST_SHARPNESS)}


def features(network: vgg.FeatureWeights, images: jax.Array) -> dict[str, jax.Array]:
    """The student's features at `LAYERS`; (N, H, W, 3) in [0, 1] -> (N, h, w, C) each."""
    return vgg.features(network, images, LAYERS, architecture=ARCHITECTURE, pooling=POOLING)


def loss(
    params: Params,
    images: jax.Array,
    targets: teachers.Targets,
    heads: dict[str, tuple[str, int]],
    copied: dict[str, str],
    *,
    distorted: int = 0,
    contrast_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error against the teachers' features, plus the weighted contrast.

    Args:
      params: see `init`.
      images: (2 N + M, H, W, 3) in [0, 1], two crops of each picture after one another, then M
        distorted crops.
      targets: see `teachers.targets`, of all images.
      heads: see `teachers.heads`.
      copied: see `teachers.copied`.
      distorted: M.
      contrast_weight: of `contrast`.

    Returns:
      (loss, {"loss", "contrast", "matched", and "teacher NAME" for each}).
    """
    seen = features(params["network"], images)
    errors: dict[str, list[jax.Array]] = {}
    for name, (layer, _) in heads.items():
        predicted = _at_size(seen[layer], targets[name])
        predicted = predicted @ params["heads"][name]["kernel"]
        predicted = predicted + params["heads"][name]["bias"][None, None, None]
        error = jnp.square(predicted - targets[name]).mean()
        errors.setdefault(name.partition(".")[0], []).append(error)
    for name, layer in copied.items():
        ours = seen[layer][..., : targets[name].shape[-1]]
        error = jnp.square(ours - targets[name]).mean()
        errors.setdefault(name.partition(".")[0], []).append(error)
    regression = {
        f"teacher {name}": functools.reduce(operator.add, each) / len(each)
        for name, each in errors.items()
    }
    contrasted, matched = contrast(seen, params["sharpness"], distorted=distorted)
    total = sum(regression.values(), contrast_weight * contrasted)
    return total, {"loss": total, "contrast": contrasted, "matched": matched, **regression}


def contrast(
    features: dict[str, jax.Array], log_sharpness: jax.Array, *, distorted: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Recognize the other crop of a picture among all crops by Gram matrices (InfoNCE).

    Args:
      features: (2 N + M, h, w, C) by layer, crops of one picture after one another, then M
        distorted crops, which match no other crop.
      log_sharpness: (), of the softmax.
      distorted: M.

    Returns:
      (cross-entropy, share of crops whose nearest is its partner), both ().
    """
    by_layer = [matching.gram_cosines(x, x) for x in features.values()]
    similarity = jnp.stack(by_layer).mean(axis=0)
    count = len(similarity) - distorted
    sharpness = jnp.minimum(jnp.exp(log_sharpness), LARGEST_SHARPNESS)
    itself = jnp.eye(count, len(similarity), dtype=bool)
    logits = jnp.where(itself, -jnp.inf, sharpness * similarity[:count])
    partner = jnp.arange(count) ^ 1
    probability = jax.nn.log_softmax(logits, axis=-1)[jnp.arange(count), partner]
    return -probability.mean(), (logits.argmax(axis=-1) == partner).mean(dtype=jnp.float32)


def _at_size(x: jax.Array, like: jax.Array) -> jax.Array:
    """(N, h, w, C) at the height and width of `like`."""
    if x.shape[1:3] == like.shape[1:3]:
        return x
    return jax.image.resize(x, (*x.shape[:1], *like.shape[1:3], *x.shape[3:]), "linear")


def balanced(network: vgg.FeatureWeights, images: Any) -> vgg.FeatureWeights:
    """The same network with mean activation 1 in each convolution's layer, on these images.

    Exact, because ReLU and average pooling commute with positive factors: each layer's features
    change by one factor.

    Args:
      network: of the student.
      images: (N, H, W, 3) in [0, 1].
    """
    names = list(network)
    relus = [name.replace("conv", "relu") for name in names]
    seen = vgg.features(network, images, relus, architecture=ARCHITECTURE, pooling=POOLING)
    before, rescaled = jnp.ones(()), {}
    for name, relu in zip(names, relus, strict=True):
        factor = 1 / seen[relu].mean()
        rescaled[name] = {
            "kernel": network[name]["kernel"] * (factor / before),
            "bias": network[name]["bias"] * factor,
        }
        before = factor
    return rescaled
