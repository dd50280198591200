"""Styles and parameters as safetensors files.

`style.safetensors` holds one style, 12.8 kB of data at the default width: `<layer>.scale` and
`<layer>.bias`, float32 of shape (C,). It is valid only with the weights it was adapted with,
so it stores their digest. With sliders it also holds `adjuster/<layer>/kernel` and `/bias`, see
`networks.adjuster`, and has format version 2; the style is then what the adjuster moves.

`params.safetensors` holds weights and style under names such as `weights/<layer>/kernel`, as
float32 or, at half the size, as float16. Files with int8 kernels hold
`weights/<layer>/kernel_scale` too, see `quantization`, and have format version 2.

Metadata of both (strings): `format`, `format_version`, `digest` of the values in the file,
`weights_digest`, `settings` (JSON), `versions` (JSON) and `command`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage import quantization, safetensors_file
from metastyle_jax.storage.digest import leaves_by_path, nest, tree_digest
from metastyle_jax.storage.versions import software_versions

STYLE_FORMAT = "metastyle_jax.style"
PARAMS_FORMAT = "metastyle_jax.params"
FORMAT_VERSION = 1
QUANTIZED_VERSION = 2  # what cannot read it would take int8 for the values themselves
ADJUSTABLE_VERSION = 2  # what cannot read it would draw a style that no weights of layers have
_ADJUSTER = "adjuster/"

Style = Mapping[str, Mapping[str, Any]]


def save_style(
    path: str | Path,
    style: Style,
    *,
    weights_digest: str,
    settings: Mapping[str, Any],
    command: str = "",
    adjuster: Mapping[str, Any] | None = None,
) -> None:
    """Write one style.

    Args:
      path: file to write; it appears complete or not at all.
      style: `{layer: {"scale": (C,), "bias": (C,)}}`, float32.
      weights_digest: `tree_digest(params["weights"])` of the weights it was adapted with.
      settings: of the adaptation; any JSON values.
      command: command line that made it, for information.
      adjuster: what moves the style, see `networks.adjuster`; the settings must then have its style
        layers, "objective.style_layers".

    Raises:
      UserError: the file cannot be written.
      ValueError: the style is not of the form above.
    """
    arrays = {
        f"{layer}.{name}": np.asarray(value)
        for layer, affine in style.items()
        for name, value in affine.items()
    }
    problem = _style_problem(arrays)
    if problem:
        raise ValueError(f"not a style: {problem}")
    if adjuster is not None:
        arrays |= {
            name: np.asarray(array, np.float32)
            for name, array in leaves_by_path({"adjuster": dict(adjuster)}).items()
        }
    metadata = _metadata(STYLE_FORMAT, arrays, weights_digest, settings, command)
    if adjuster is not None:
        metadata["format_version"] = str(ADJUSTABLE_VERSION)
    safetensors_file.write(path, arrays, metadata)


def load_adjuster(path: str | Path) -> dict[str, Any] | None:
    """The adjuster of a file written by `save_style`, float32; None if it has none.

    Raises:
      UserError: the file is missing, damaged, or no style file.
    """
    arrays, _ = _read(path, STYLE_FORMAT, "style")
    return nest(arrays).get("adjuster")


def load_style(
    path: str | Path,
    *,
    weights_digest: str | None = None,
    weights_name: str = "the weights given",
    template: Style | None = None,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Read one style.

    Args:
      path: file written by `save_style`.
      weights_digest: of the weights it will be used with; None accepts any.
      weights_name: what to call those weights in an error, best their file or folder.
      template: a style of the network it will be used with, whose layers and shapes it must have.

    Returns:
      `({layer: {"scale": (C,), "bias": (C,)}}, metadata)`, float32, finite; `settings` and
      `versions` of the metadata are dicts.

    Raises:
      UserError: the file is missing, damaged, no style file, made for other weights, or for a
        network of other shapes.
    """
    arrays, metadata = _read(path, STYLE_FORMAT, "style")
    arrays = {name: array for name, array in arrays.items() if not name.startswith(_ADJUSTER)}
    problem = _style_problem(arrays)
    if problem:
        raise UserError(f"{path} is no usable style file: {problem}")
    if weights_digest is not None and metadata["weights_digest"] != weights_digest:
        raise UserError(
            f"{path} was made for other weights: for {metadata['weights_digest'][:12]}, but "
            f"{weights_name} has {weights_digest[:12]}; use the initialization it was adapted "
            "from, or run adapt.py again with this one"
        )
    style: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, part = name.rpartition(".")
        style.setdefault(layer, {})[part] = array
    if template is not None:
        _check_shapes(path, style, template)
    return style, metadata


def save_params(
    path: str | Path,
    params: Mapping[str, Any],
    *,
    settings: Mapping[str, Any],
    command: str = "",
    dtype: Literal["float32", "float16"] = "float32",
) -> None:
    """Write weights and style, and predictor and adjuster where there are any.

    Args:
      path: file to write, whole or not at all.
      params: `{"weights": {...}, "style": {...}}`, nested dicts of float32 arrays of any shape; and
        "predictor" if each style starts where that says, see `networks.predictor`; and "adjuster"
        if styles move by the weights of layers, see `networks.adjuster`.
      settings: what they were made with; anything that JSON can hold.
      command: the command line that made them, for the reader's information.
      dtype: how to store them; float16 halves the size and rounds to 11 bits. The recorded
        `weights_digest` is that of the weights as `load_params` returns them.

    Raises:
      UserError: the file cannot be written.
      ValueError: `params` is not of the form above, or a value does not fit into float16.
    """
    if not _are_params(params):
        raise ValueError(
            "params hold weights, style and maybe a predictor and an adjuster, not "
            f"{sorted(params)}"
        )
    with np.errstate(over="ignore"):
        stored = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32).astype(dtype), dict(params))
    arrays = leaves_by_path(stored)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite in {dtype}")
    restored = jax.tree.map(lambda leaf: leaf.astype(np.float32), stored["weights"])
    metadata = _metadata(PARAMS_FORMAT, arrays, tree_digest(restored), settings, command)
    safetensors_file.write(path, arrays, metadata)


def save_quantized_params(
    path: str | Path,
    weights: quantization.Layers,
    style: Style,
    *,
    settings: Mapping[str, Any],
) -> None:
    """Write weights as `quantization.quantize` returns them, and a style.

    Args:
      path: file to write, whole or not at all; `load_params` reads it.
      weights: `{layer: {"kernel", "bias", "kernel_scale" if int8}}`.
      style: `{layer: {"scale": (C,), "bias": (C,)}}`, float32.
      settings: what they were made with; anything that JSON can hold.

    Raises:
      UserError: the file cannot be written.
    """
    arrays = leaves_by_path({"weights": weights, "style": style})
    digest = tree_digest(quantization.restore(weights))
    metadata = _metadata(PARAMS_FORMAT, arrays, digest, settings, "")
    if any(quantization.SCALE in layer for layer in weights.values()):
        metadata["format_version"] = str(QUANTIZED_VERSION)
    safetensors_file.write(path, arrays, metadata)


def load_params(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read weights and style, and predictor and adjuster of a file that has them.

    Args:
      path: file written by `save_params` or `save_quantized_params`.

    Returns:
      `({"weights": {...}, "style": {...}}, metadata)`, nested dicts of float32 arrays, with
      "predictor" and "adjuster" if the file has them; `settings` and `versions` of the metadata are
      dicts.

    Raises:
      UserError: the file is missing, damaged, or no parameter file of this project.
    """
    arrays, metadata = _read(path, PARAMS_FORMAT, "parameter")
    try:
        params = nest(quantization.restore_arrays(arrays))
    except ValueError as error:
        raise UserError(f"{path} is no usable parameter file: {error}") from error
    if not _are_params(params):
        raise UserError(f"{path} is no usable parameter file: it holds {sorted(params)}")
    return params, metadata


def _are_params(params: Mapping[str, Any]) -> bool:
    return {"weights", "style"} <= set(params) <= {"weights", "style", "predictor", "adjuster"}


def format_of(path: str | Path) -> str:
    """`STYLE_FORMAT`, `PARAMS_FORMAT`, or another format that the file names; "" if none.

    Raises:
      UserError: the file is missing or no safetensors file.
    """
    return safetensors_file.read(path, wanted=lambda name: False)[1].get("format", "")


def _metadata(
    format_name: str,
    arrays: Mapping[str, np.ndarray],
    weights_digest: str,
    settings: Mapping[str, Any],
    command: str,
) -> dict[str, str]:
    return {
        "format": format_name,
        "format_version": str(FORMAT_VERSION),
        "digest": tree_digest(nest(arrays)),
        "weights_digest": weights_digest,
        "settings": json.dumps(dict(settings), sort_keys=True),
        "versions": json.dumps(software_versions()),
        "command": command,
    }


def _read(
    path: str | Path, format_name: str, kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and metadata of a file of this project, after a check of its digest."""
    arrays, strings = safetensors_file.read(path)
    actual = strings.get("format", "")
    if actual != format_name:
        others = {STYLE_FORMAT: "it is a style file", PARAMS_FORMAT: "it is a parameter file"}
        reason = others.get(actual, "its metadata do not name the format")
        raise UserError(f"{path} is no {kind} file of metastyle_jax: {reason}")
    version = strings.get("format_version", "")
    newest = QUANTIZED_VERSION if format_name == PARAMS_FORMAT else ADJUSTABLE_VERSION
    if version not in {str(number) for number in range(FORMAT_VERSION, newest + 1)}:
        raise UserError(
            f"{path} has format version {version!r} but this metastyle_jax reads version "
            f"{newest}: update metastyle_jax"
        )
    try:
        metadata: dict[str, Any] = {
            **strings,
            "weights_digest": strings["weights_digest"],
            "settings": json.loads(strings["settings"]),
            "versions": json.loads(strings["versions"]),
        }
        intact = strings["digest"] == tree_digest(nest(arrays))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged: its metadata cannot be read ({error})") from error
    if not intact:
        raise UserError(f"{path} is damaged: its values do not have the digest recorded with them")
    return arrays, metadata


def _style_problem(arrays: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with arrays `{"<layer>.scale": ..., "<layer>.bias": ...}`; None if nothing."""
    if not arrays:
        return "it holds no arrays"
    for name, array in arrays.items():
        layer, _, part = name.rpartition(".")
        if not layer or part not in ("scale", "bias"):
            return f"the array {name!r} is neither a scale nor a bias of a layer"
        if array.dtype != np.float32:
            return f"{name} is {array.dtype}, not float32"
        if array.ndim != 1 or array.size == 0:
            return f"{name} has shape {array.shape}, not (C,)"
        other = arrays.get(f"{layer}.{'bias' if part == 'scale' else 'scale'}")
        if other is None or other.shape != array.shape:
            return f"{layer} lacks a scale and a bias of equal shape"
        if not np.isfinite(array).all():
            return f"{name} holds values that are not finite"
    return None


def _check_shapes(path: str | Path, style: Style, template: Style) -> None:
    if set(style) != set(template):
        layer = min(set(style) ^ set(template))
        side = "has a layer the network lacks" if layer in style else "lacks a layer of the network"
        raise UserError(f"{path} is a style for another network: it {side}, {layer}")
    for layer, affine in style.items():
        expected = np.shape(template[layer]["scale"])
        if affine["scale"].shape != expected:
            raise UserError(
                f"{path} is a style for another network: {layer} has shape "
                f"{affine['scale'].shape} where the network has {expected}"
            )
