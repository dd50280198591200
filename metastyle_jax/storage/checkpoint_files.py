"""One checkpoint on disk: Orbax writes and reads it, a record verifies it.

Orbax does not detect bytes that changed on disk. Therefore each checkpoint has a record: a JSON
file with digests of all arrays and files, the configuration, the software versions, and a digest
of the record itself. Files are checked before Orbax reads them, and arrays after.

The folder `<step>/` has `record.json` and up to two Orbax items: `params`, which `adapt.py` reads,
and `training`, the rest of the state. It is written under another name and then renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage import orbax_files
from metastyle_jax.storage.atomic import atomic_path, flush_folder
from metastyle_jax.storage.digest import array_digest, file_digest, leaves_by_path, nest
from metastyle_jax.storage.versions import software_versions

FORMAT = "metastyle_jax.checkpoint"
FORMAT_VERSION = 1

RECORD_NAME = "record.json"

_ITEMS = ("params", "training")
_INCOMPLETE = ".incomplete"


class Damaged(Exception):
    """A checkpoint differs from what was saved; the message is a clause that says why."""


def write(
    folder: Path,
    step: int,
    arrays: Mapping[str, np.ndarray],
    configuration: Mapping[str, Any],
    loss: float | None = None,
) -> None:
    """Write a complete checkpoint or none.

    Args:
      folder: absolute path, named by the step; must not exist.
      step: of the training.
      arrays: by name (`params/weights/conv1/kernel`), any shape but empty, any numeric dtype.
      configuration: JSON values.
      loss: recorded if given.

    Raises:
      OSError: it cannot be written.
    """
    items = {}
    for item in _ITEMS:
        part = {name: array for name, array in arrays.items() if _item(name) == item}
        if part:
            items[item] = nest(part)
    staging = folder.with_name(f"{folder.name}{_INCOMPLETE}")
    try:
        orbax_files.save(staging, items)
        record = _record(step, arrays, configuration, staging, loss)
        with atomic_path(staging / RECORD_NAME) as temporary:
            temporary.write_text(json.dumps(record, indent=1))
        staging.rename(folder)
    except BaseException:
        remove_leftovers(folder.parent)  # give the space back on a full disk
        raise
    flush_folder(folder.parent)


def remove(folder: Path) -> None:
    """Delete a checkpoint; a partly deleted one does not count as a checkpoint."""
    doomed = folder.with_name(f"{folder.name}{_INCOMPLETE}")
    with contextlib.suppress(OSError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Delete partly written or partly deleted checkpoints of a killed process."""
    for leftover in directory.glob(f"*{_INCOMPLETE}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def looks_like_one(folder: Path) -> bool:
    """Whether a folder has the contents of a checkpoint, intact or not."""
    return (folder / RECORD_NAME).is_file() or any((folder / item).is_dir() for item in _ITEMS)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a checkpoint.

    Returns:
      `step`, `configuration`, `versions`, `arrays` (name -> sha256, shape, dtype), `files` (path in
      the checkpoint -> sha256), `format`, `format_version` and `digest`; `loss` if one was saved.

    Raises:
      Damaged: it cannot be read or has changed.
      UserError: it has another version of the format.
    """
    try:
        record = json.loads((folder / RECORD_NAME).read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(
            f"its {RECORD_NAME} cannot be read ({orbax_files.first_line(error)})"
        ) from error
    if not isinstance(record, dict) or record.get("digest") != _record_digest(record):
        raise Damaged(f"its {RECORD_NAME} does not have its digest")
    if record.get("format") != FORMAT or record.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"checkpoint {folder} has format {record.get('format')} {record.get('format_version')} "
            f"but this metastyle_jax reads {FORMAT} {FORMAT_VERSION}: update metastyle_jax"
        )
    return record


def read_arrays(
    folder: Path, record: Mapping[str, Any], only: str | None = None
) -> dict[str, np.ndarray]:
    """The arrays by name, each with the digest, shape and dtype of the record.

    Args:
      folder: of the checkpoint.
      record: as `read_record` returned it.
      only: "params" or "training" to read just that item.

    Raises:
      Damaged: they cannot be read or have changed.
    """
    expected = {
        name: entry for name, entry in record["arrays"].items() if only in (None, _item(name))
    }
    if not expected:
        return {}
    _check_files(folder, record, only)
    items = list(dict.fromkeys(_item(name) for name in expected))
    try:
        restored = orbax_files.restore(folder, items)
    except Exception as error:  # any error of Orbax and tensorstore on reading is damage
        raise Damaged(f"it cannot be read ({orbax_files.first_line(error)})") from error
    # item by item, as Orbax's container of items is no pytree
    leaves = {name: leaf for item in items for name, leaf in _leaves(restored[item]).items()}
    for name, entry in expected.items():
        if name not in leaves:
            raise Damaged(f"the array {name} is missing")
        array = leaves[name]
        if list(array.shape) != entry["shape"] or array.dtype.name != entry["dtype"]:
            raise Damaged(f"the array {name} is {array.dtype.name} {array.shape}")
        if array_digest(array) != entry["sha256"]:
            raise Damaged(f"the array {name} does not have its digest")
    return {name: leaves[name] for name in expected}


def _check_files(folder: Path, record: Mapping[str, Any], only: str | None) -> None:
    for name, sha256 in record["files"].items():
        item = name.split("/")[0]
        if only is not None and item in _ITEMS and item != only:
            continue
        try:
            intact = file_digest(folder / name) == sha256
        except OSError as error:
            raise Damaged(f"its file {name} cannot be read ({error.strerror})") from error
        if not intact:
            raise Damaged(f"its file {name} has changed since it was written")


def _leaves(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in leaves_by_path(tree).items()}


def _item(name: str) -> str:
    return "params" if name.startswith("params/") else "training"


def _record(
    step: int,
    arrays: Mapping[str, np.ndarray],
    configuration: Mapping[str, Any],
    folder: Path,
    loss: float | None,
) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "step": step,
        "configuration": dict(configuration),
        "versions": software_versions(),
        "arrays": {
            name: {
                "sha256": array_digest(array),
                "shape": list(array.shape),
                "dtype": array.dtype.name,
            }
            for name, array in arrays.items()
        },
        "files": {path.relative_to(folder).as_posix(): file_digest(path) for path in files},
    }
    if loss is not None:
        record["loss"] = loss
    return {**record, "digest": _record_digest(record)}


def _record_digest(record: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
