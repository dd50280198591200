"""Teachers: networks that the small feature network learns from, and their features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.features.training import compressed_vgg, squeezenet
from metastyle_jax.networks import vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.storage import safetensors_file

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # of the student, at 1, 1/2, 1/4, 1/8

DEAD = 1e-2  # standard deviation below which a channel counts as dead

Targets = dict[str, jax.Array]


class Network(NamedTuple):
    """A kind of teacher.

    Attributes:
      load: what `features` takes, from a name such as "cd16x:FILE".
      features: (weights, images in [0, 1]) -> features, coarser and coarser.
      layers: the student's layer that learns each of them.
      channels: of each.
      copied: whether the first channels of the student copy those of the teacher, and so its Gram
        matrices; otherwise linear heads predict the teacher's channels.
    """

    load: Callable[[str], Any]
    features: Callable[[Any, jax.Array], list[jax.Array]]
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    copied: bool = False


def _from_file(spec: str, *, keys: Callable[[], list[str]]) -> dict[str, np.ndarray]:
    """Arrays of "NAME:FILE" as float32."""
    name, _, file = spec.partition(":")
    if not file:
        raise UserError(f"config.teachers: {spec!r} names no file: write {name}:FILE")
    wanted = keys()
    arrays, _ = safetensors_file.read(Path(file).expanduser(), set(wanted).__contains__)
    for key in wanted:
        if key not in arrays:
            raise UserError(f"{file} is no {name} file: it has no array {key}")
    return {key: array.astype(np.float32) for key, array in arrays.items()}


def _vgg(network: FeatureNetwork, images: jax.Array) -> list[jax.Array]:
    return list(network.extract(images, LAYERS).values())


def _squeezenet(weights: Any, images: jax.Array) -> list[jax.Array]:
    mean, deviation = (
        jnp.asarray([[[values]]], images.dtype) for values in (vgg.MEAN, vgg.STANDARD_DEVIATION)
    )
    return squeezenet.features(weights, (images - mean) / deviation)


NETWORKS = {
    "squeezenet": Network(
        functools.partial(_from_file, keys=squeezenet.keys),
        _squeezenet,
        # the deeper ones have half the resolution of the student's last layer
        ("relu2_2", "relu3_3", "relu4_3", "relu4_3", "relu4_3", "relu4_3", "relu4_3"),
        (64, 128, 256, 384, 384, 512, 512),
    ),
    "cd16x": Network(
        functools.partial(_from_file, keys=compressed_vgg.keys),
        compressed_vgg.features,
        LAYERS,
        (16, 32, 64, 128),
        copied=True,
    ),
    "vgg16": Network(lambda spec: registry.load(spec, LAYERS), _vgg, LAYERS, (64, 128, 256, 512)),
}

Weights = dict[str, Any]  # by name of the teacher, as its `Network.load` returns them


def load(specs: Sequence[str]) -> Weights:
    """Read teachers.

    Args:
      specs: "vgg16" or "vgg16:FILE", see `features.registry`; "squeezenet:FILE" (SqueezeNet 1.1
        under torchvision's key names) and "cd16x:FILE" (the compressed VGG-19); safetensors.

    Returns:
      Weights by name of the teacher, float32.

    Raises:
      UserError: an unknown teacher; a file that is missing, damaged or lacks an array.
    """
    weights = {}
    for spec in specs:
        name = spec.partition(":")[0]
        if name not in NETWORKS:
            known = ", ".join(f"{name}:FILE" for name in NETWORKS)
            raise UserError(f"config.teachers: {spec!r} is unknown: use {known} or vgg16")
        weights[name] = NETWORKS[name].load(spec)
    return weights


class Scale(NamedTuple):
    """Channels of a teacher and their scales.

    Attributes:
      channels: (C,) int32, indices. Dead channels are not copied, because the student has few.
      deviation: (C,), standard deviation of each channel.
    """

    channels: np.ndarray
    deviation: np.ndarray


def targets(weights: Weights, images: jax.Array, scales: Mapping[str, Scale]) -> Targets:
    """Targets of the student: features of the teachers divided by their standard deviation.

    Targets of heads have mean 0 over the batch. Copied targets are not centered, and are >= 0.

    Args:
      weights: see `load`.
      images: (N, H, W, 3) in [0, 1].
      scales: see `measure`.

    Returns:
      {"teacher.number": (N, h, w, C)}.
    """
    targets_by_name = {}
    for name, x in _features(weights, images).items():
        x = x[..., scales[name].channels]
        targets_by_name[name] = x / (scales[name].deviation + DEAD)[None, None, None]
        if not _is_copied(name):
            mean = targets_by_name[name].mean(axis=(0, 1, 2), keepdims=True)
            targets_by_name[name] -= mean
    return targets_by_name


def measure(weights: Weights, images: jax.Array | np.ndarray) -> dict[str, Scale]:
    """{"teacher.number": scale} of the features over `images`, (N, H, W, 3) in [0, 1]."""
    scales = {}
    for name, x in _features(weights, images).items():
        deviation = np.asarray(x.std(axis=(0, 1, 2)))
        lives = deviation > DEAD if _is_copied(name) else np.full(deviation.shape, True)
        scales[name] = Scale(np.flatnonzero(lives).astype(np.int32), deviation[lives])
    return scales


def _is_copied(name: str) -> bool:
    return NETWORKS[name.partition(".")[0]].copied


def _features(weights: Weights, images: Any) -> Targets:
    return {
        f"{name}.{i}": x
        for name, of_one in weights.items()
        for i, x in enumerate(NETWORKS[name].features(of_one, images))
    }


def heads(weights: Weights) -> dict[str, tuple[str, int]]:
    """{"teacher.number": (the student's layer, channels of the target)} of all that need heads."""
    return {
        f"{name}.{i}": pair
        for name in weights
        if not NETWORKS[name].copied
        for i, pair in enumerate(zip(NETWORKS[name].layers, NETWORKS[name].channels, strict=True))
    }


def copied(weights: Weights) -> dict[str, str]:
    """{"teacher.number": the student's layer} of all that the student's first channels copy."""
    return {
        f"{name}.{i}": layer
        for name in weights
        if NETWORKS[name].copied
        for i, layer in enumerate(NETWORKS[name].layers)
    }
