"""Weights of the VGG feature networks in files.

Files hold torchvision's key names, `features.{index}.weight` (OIHW) and `features.{index}.bias`,
where the index counts convolutions, ReLUs and poolings; other keys (the classifier) are ignored. A
file may stop early: only the convolutions up to the deepest layer asked for must be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.networks.vgg import ARCHITECTURES, conv_names, kernel_shapes
from metastyle_jax.storage import safetensors_file
from metastyle_jax.storage.home_folder import is_file

Weights = dict[str, dict[str, np.ndarray]]

_CONV_KEY = re.compile(r"features\.\d+\.weight")


def torchvision_keys(architecture: str) -> dict[str, str]:
    """`{"conv1_1": "features.0", "conv1_2": "features.2", "conv2_1": "features.5", ...}`.

    torchvision's `features` is a sequence: each convolution is followed by its ReLU, each block by
    a pooling.

    Raises:
      ValueError: unknown architecture.
    """
    keys = {}
    index, block = 0, "1"
    for name in conv_names(architecture):
        if name[4] != block:
            index, block = index + 1, name[4]
        keys[name] = f"features.{index}"
        index += 2
    return keys


def keys_of(architecture: str, layers: Iterable[str]) -> dict[str, str]:
    """Names in files of all that `vgg.features` needs: `torchvision_keys` and "heads.relu1_1".

    Raises:
      ValueError: unknown architecture or layer, or no layer at all.
    """
    convs = torchvision_keys(architecture)
    return {
        name: convs[name] if name in convs else f"heads.{name.replace('head', 'relu')}"
        for name in kernel_shapes(architecture, layers)
    }


def load(architecture: str, path: Path, layers: Iterable[str]) -> Weights:
    """Weights of the network down to the deepest of `layers` from one .safetensors, .pth or .pt.

    Returns:
      `{"conv1_1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}`: HWIO float32 numpy arrays.

    Raises:
      UserError: the file is missing, damaged, of another network or lacks a convolution.
    """
    layers = tuple(layers)
    keys = keys_of(architecture, layers)
    wanted = {f"{key}.{part}": name for name, key in keys.items() for part in ("weight", "bias")}
    if path.suffix.lower() in (".pth", ".pt"):
        present, arrays = _read_torch(path, set(wanted))
    else:
        present = safetensors_file.names(path)
        arrays = safetensors_file.read(path, wanted=wanted.__contains__)[0]
    known = {f"{key}.weight" for key in torchvision_keys(architecture).values()}
    foreign = sorted(name for name in present if _CONV_KEY.fullmatch(name) and name not in known)
    if foreign:
        raise UserError(
            f"{path} is not a {architecture} file: it has {foreign[0]}, which {architecture} lacks"
            f"{_hint(architecture, present)}"
        )
    for key, conv in wanted.items():
        if key not in arrays:
            raise UserError(
                f"{path} has no weights for {conv}: the key {key} is missing; use a file that goes "
                f"deeper, or feature layers before relu{conv[4:]}"
            )
    shapes = kernel_shapes(architecture, layers)
    return {
        name: _convert(architecture, path, (name, keys[name], shapes[name]), arrays)
        for name in keys
    }


def _convert(
    architecture: str,
    path: Path,
    wanted: tuple[str, str, tuple[int, int, int, int]],
    arrays: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """OIHW of any float type to HWIO float32, after a look at the shapes.

    `wanted` is the convolution, its name in the file and the shape of its kernel.
    """
    conv, key, (height, width, inputs, outputs) = wanted
    kernel, bias = arrays[f"{key}.weight"], arrays[f"{key}.bias"]
    expected = {"weight": (outputs, inputs, height, width), "bias": (outputs,)}
    for part, array in (("weight", kernel), ("bias", bias)):
        if array.shape != expected[part]:
            raise UserError(
                f"{path} is not a {architecture} file: {conv}, key {key}.{part}, has shape "
                f"{array.shape} instead of {expected[part]}"
            )
    return {
        "kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0).astype(np.float32)),
        "bias": bias.astype(np.float32),
    }


def _hint(architecture: str, present: Iterable[str]) -> str:
    """Another network that has every convolution of the file, if there is one."""
    convolutions = {name for name in present if _CONV_KEY.fullmatch(name)}
    for other in ARCHITECTURES:
        keys = {f"{key}.weight" for key in torchvision_keys(other).values()}
        if other != architecture and convolutions <= keys:
            return f"; it looks like {other}"
    return ""


def _read_torch(path: Path, wanted: set[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names of all, and values of the wanted, arrays of a torch file; never by plain pickle."""
    if not is_file(path):
        raise UserError(f"there is no file {path}")
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} can only be read with torch; install torch or convert it to safetensors"
        ) from error
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not one of its own
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(f"{path} is no torch file of plain weights: {reason}") from error
    if not isinstance(tensors, dict):
        raise UserError(f"{path} holds no state_dict but a {type(tensors).__name__}")
    arrays = {
        name: tensor.detach().float().numpy()
        for name, tensor in tensors.items()
        if name in wanted and isinstance(tensor, torch.Tensor)
    }
    return [str(name) for name in tensors], arrays
