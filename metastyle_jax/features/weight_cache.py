"""The cache of weights: trimmed to the layers needed, and kept in a folder.

A file is `<name>-<end>.safetensors`, with its SHA-256 in a file next to it. The digest is verified
on each use. `<end>` is the deepest convolution for a feature network: `vgg16-conv5_3.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.networks import vgg
from metastyle_jax.storage import cache_folder, home_folder, safetensors_file
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.storage.digest import file_digest


def folder(path: str | Path | None = None) -> Path:
    """`path`, or the default folder."""
    return home_folder.expanded(path) if path else cache_folder.default_folder()


def find(folder: Path, architecture: str, depth: str) -> Path | None:
    """A verified file with the convolutions up to `depth` or deeper; None if there is none.

    Raises:
      UserError: there is one, but it has changed.
    """
    names = vgg.conv_names(architecture)
    for name in names[names.index(depth) :]:
        path = path_of(folder, architecture, name)
        if path.is_file():
            verify(path)
            return path
    return None


def path_of(folder: Path, name: str, end: str) -> Path:
    """Where a file is kept."""
    return folder / f"{name}-{end}.safetensors"


def write(folder: Path, name: str, end: str, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays to the cache; the digest first, so that no file lacks it.

    Raises:
      UserError: the folder cannot be written.
    """
    path = path_of(folder, name, end)
    with atomic_path(path) as temporary:
        safetensors_file.write(temporary, arrays)
        digest = file_digest(temporary)
        with atomic_path(_sidecar(path)) as sidecar:
            sidecar.write_text(f"{digest}  {path.name}\n")
    return path


def verify(path: Path) -> None:
    """Compare a file with its digest.

    Raises:
      UserError: they differ.
    """
    try:
        recorded = _sidecar(path).read_text().split()[0]
    except (OSError, ValueError, IndexError):
        recorded = ""
    if file_digest(path) != recorded:
        raise UserError(
            f"{path} does not have the SHA-256 recorded in {_sidecar(path).name}: delete both "
            "files, and it will be fetched again"
        )


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
