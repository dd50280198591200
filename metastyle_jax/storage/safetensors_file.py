"""Reading and writing of safetensors files, with one clear sentence for each error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.storage.home_folder import exists, is_file
from metastyle_jax.storage.unicode_text import escaped


def write(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays and metadata; the file appears complete or not at all.

    Args:
      path: file to write; its folder is created if needed.
      arrays: any shapes; dtypes that safetensors knows.
      metadata: strings by name; written as `unicode_text.escaped`.

    Raises:
      UserError: the file cannot be written.
    """
    # safetensors writes memory in order and ignores strides
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    strings = {name: escaped(text) for name, text in (metadata or {}).items()}
    data = safetensors.numpy.save(contiguous, strings)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read(
    path: str | Path, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file.

    Args:
      path: file to read.
      wanted: whether to read an array, by name; other arrays are skipped.

    Returns:
      `({name: array}, {name: string})`, arrays as stored.

    Raises:
      UserError: the file is missing, damaged, or no safetensors file.
    """
    with _open(path) as file:
        try:
            # safetensors' own `keys` is a method, not a mapping
            names = [name for name in file.keys() if wanted(name)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
        except Exception as error:
            raise UserError(f"{path} cannot be read: {_first_line(error)}") from error


def names(path: str | Path) -> list[str]:
    """Names of the arrays in a file, without reading them.

    Raises:
      UserError: the file is missing, damaged, or no safetensors file.
    """
    with _open(path) as file:
        return list(file.keys())


def _open(path: str | Path):
    path = Path(path)
    if not exists(path):
        raise UserError(f"there is no file {path}")
    if not is_file(path):
        raise UserError(f"{path} is not a file")
    try:
        return safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path} is no safetensors file, or is truncated or damaged ({_first_line(error)})"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip()
