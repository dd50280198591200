"""What an export holds: weights as they are stored, a style, and what is known of both."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import metastyle_jax
from metastyle_jax.networks import stylization_network
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import provenance
from metastyle_jax.storage import quantization, unicode_text
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization.stylizer import Stylizer

AFFINE = ("scale", "bias")  # in this order within a style vector

# An export that was read back: from images (N, H, W, 3) in [0, 1] and style vectors (N, S), both
# float32, to images of the same shape. With a constant style it ignores the vectors.
Draw = Callable[[np.ndarray, np.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class Contents:
    """All that a file is written from.

    Attributes:
      weights: as `quantization.quantize` returns them.
      style: `{layer: {"scale": (C,), "bias": (C,)}}`, float32; where the style is an input, that of
        the stylizer, for the comparison.
      style_input: whether the style is an input of the graph.
      metadata: what is known of the network, strings by name.
    """

    weights: dict[str, dict[str, np.ndarray]]
    style: dict[str, dict[str, np.ndarray]]
    style_input: bool
    metadata: dict[str, str]


class Format(NamedTuple):
    """A file format.

    Attributes:
      write: writes the contents to a path: a new file or, for a folder, an empty one.
      reload: reads that path back, each program in it.
      is_folder: whether the path is a folder.
      kinds: which dtypes of the kernels it can hold.
      style_input: whether the style can be an input.
      note: one sentence on the files, for whoever exported them.
    """

    write: Callable[[Path, Contents], None]
    reload: Callable[[Path, Contents], Sequence[Draw]]
    is_folder: bool = False
    kinds: tuple[quantization.Kind, ...] = quantization.KINDS
    style_input: bool = False
    note: str = ""


def gather(stylizer: Stylizer, kind: quantization.Kind, style_input: bool) -> Contents:
    """The contents of an export of a stylizer."""
    weights = quantization.quantize(stylizer.weights, kind)
    style = ordered(stylizer.style, stylizer.weights)
    metadata = _describe(stylizer, weights, kind)
    if style_input:
        metadata["style_order"] = json.dumps(style_order(style))
    return Contents(weights, style, style_input, metadata)


def ordered(
    style: stylization_network.Style, weights: stylization_network.Weights
) -> dict[str, dict[str, np.ndarray]]:
    """A style, float32, its layers in the order in which a picture passes them."""
    arrays = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), dict(style))
    return {layer: dict(arrays[layer]) for layer in _norms(weights)}


def _norms(weights: Mapping[str, Any]) -> list[str]:
    """Names of the norms in the order in which a picture passes them."""
    blocks = range(1, stylization_network.count_residual_blocks(weights) + 1)
    residual = [f"residual{block}_{half}_norm" for block in blocks for half in (1, 2)]
    return ["conv1_norm", "conv2_norm", "conv3_norm", *residual, "up1_norm", "up2_norm"]


def style_order(style: stylization_network.Style) -> list[str]:
    """Names of the parts of a style vector, in order: those of the arrays of a style file."""
    return [f"{layer}.{part}" for layer in style for part in AFFINE]


def style_vector(style: stylization_network.Style) -> np.ndarray:
    """A style as one vector (S,), float32, in the order of `style_order`."""
    parts = [np.asarray(style[layer][part], np.float32) for layer in style for part in AFFINE]
    return np.concatenate(parts)


def styles_of(vectors: Any, style: stylization_network.Style) -> dict[str, dict[str, Any]]:
    """Style vectors (N, S), NumPy or JAX, as a style with leaves (N, C); `style` gives shapes."""
    styles: dict[str, dict[str, Any]] = {}
    start = 0
    for layer in style:
        for part in AFFINE:
            stop = start + len(style[layer][part])
            styles.setdefault(layer, {})[part] = vectors[:, start:stop]
            start = stop
    return styles


def _describe(
    stylizer: Stylizer, weights: quantization.Layers, kind: quantization.Kind
) -> dict[str, str]:
    settings = provenance.without_places(stylizer.record.settings)
    name = provenance.without_folder(stylizer.record.name)
    if provenance.BLEND in settings:  # a name made of names
        name = provenance.blend_name(settings[provenance.BLEND])
    described = {
        "producer": f"metastyle_jax {metastyle_jax.__version__}",
        "name": name,
        "artwork": str(settings.get("artwork", "")),
        "settings": json.dumps(settings, sort_keys=True),
        "weights_digest": tree_digest(quantization.restore(weights)),
        "kernels": kind,
        "input_noise": f"{stylizer.input_noise:g}",
    }
    return {name: unicode_text.escaped(text) for name, text in described.items()}


def _directly(
    weights: stylization_network.Weights, style: stylization_network.Style, images: jax.Array
) -> jax.Array:
    return stylization_network.stylize(weights, style, images, rewrite=False)


# `stylize` without its rewrites for speed: the same up to rounding, compiled in a third of the time
stylize_directly = compilation.jit(_directly)
