"""One checkpoint on disk: written and read by Orbax, verified by its record.

Orbax does not notice when bytes change on disk: a flipped bit loads as a wrong value, or breaks its
reader half-way. So each checkpoint carries a record, a JSON file with the digest of every array and
of every file, the configuration it belongs to and the versions of the software, under a digest of
its own. Files are compared with it before Orbax reads them, and arrays after.

The folder `<step>/` has `record.json` and up to two Orbax items: `params` (what `adapt.py` needs)
and `training` (all the rest of the state). It is made complete under another name and then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path, flush_folder
from metastyle_jax.storage.digest import array_digest, file_digest, leaves_by_path, nest
from metastyle_jax.storage.versions import software_versions

FORMAT = "metastyle_jax.checkpoint"
FORMAT_VERSION = 1

RECORD_NAME = "record.json"

_ITEMS = ("params", "training")
_INCOMPLETE = ".incomplete"


class Damaged(Exception):
    """A checkpoint is not what was saved; the message says why, as half a sentence."""


def write(
    folder: Path, step: int, arrays: Mapping[str, np.ndarray], configuration: Mapping[str, Any]
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
      folder: its absolute path, named by the step; must not exist.
      step: of the training.
      arrays: by name (`params/weights/conv1/kernel`), any shape but empty, any numeric dtype.
      configuration: what JSON can hold.

    Raises:
      OSError: it cannot be written.
    """
    items = {}
    for item in _ITEMS:
        part = {name: array for name, array in arrays.items() if _item(name) == item}
        if part:
            items[item] = ocp.args.PyTreeSave(nest(part))
    staging = folder.with_name(f"{folder.name}{_INCOMPLETE}")
    try:
        _save(staging, items)
        record = _record(step, arrays, configuration, staging)
        with atomic_path(staging / RECORD_NAME) as temporary:
            temporary.write_text(json.dumps(record, indent=1))
        staging.rename(folder)
    except BaseException:
        remove_leftovers(folder.parent)  # give the space back on a full disk
        raise
    flush_folder(folder.parent)


def remove(folder: Path) -> None:
    """Delete a checkpoint, so that no half of it is ever taken for one."""
    doomed = folder.with_name(f"{folder.name}{_INCOMPLETE}")
    with contextlib.suppress(OSError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Delete what a killed process left half-written or half-deleted."""
    for leftover in directory.glob(f"*{_INCOMPLETE}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def looks_like_one(folder: Path) -> bool:
    """Whether a folder is a checkpoint by its contents, intact or not, whatever its name."""
    return (folder / RECORD_NAME).is_file() or any((folder / item).is_dir() for item in _ITEMS)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a checkpoint.

    Returns:
      `step`, `configuration`, `versions`, `arrays` (name -> sha256, shape, dtype), `files` (path in
      the checkpoint -> sha256), `format`, `format_version` and `digest`.

    Raises:
      Damaged: it cannot be read or is not what was written.
      UserError: it is of another version of the format.
    """
    try:
        record = json.loads((folder / RECORD_NAME).read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(f"its {RECORD_NAME} cannot be read ({_first_line(error)})") from error
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
      Damaged: they cannot be read or are not what was written.
    """
    expected = {
        name: entry for name, entry in record["arrays"].items() if only in (None, _item(name))
    }
    if not expected:
        return {}
    _check_files(folder, record, only)
    items = {_item(name): ocp.args.PyTreeRestore() for name in expected}
    try:
        with _checkpointer() as checkpointer:
            restored = checkpointer.restore(folder, args=ocp.args.Composite(**items))
    except Exception as error:  # whatever Orbax and tensorstore raise on reading is damage
        raise Damaged(f"it cannot be read ({_first_line(error)})") from error
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
    return {**record, "digest": _record_digest(record)}


def _record_digest(record: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    """Orbax without its log lines: what matters of them is in our errors and warnings."""
    absl_logger = logging.getLogger("absl")
    disabled, absl_logger.disabled = absl_logger.disabled, True
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            yield checkpointer
    finally:
        absl_logger.disabled = disabled


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """Keep the threads of tensorstore from printing a trace for each write that comes too late.

    The first write that fails ends Orbax's event loop, which all others then miss. What failed is
    in the one exception that `_save` raises. They go on after it, and so does this then.
    """
    hook = sys.unraisablehook

    def quieter(unraisable: sys.UnraisableHookArgs) -> None:
        trace = unraisable.exc_traceback
        if trace is None or trace.tb_frame.f_code.co_name != "call_soon_threadsafe":
            hook(unraisable)

    sys.unraisablehook = quieter
    yield
    sys.unraisablehook = hook


def _save(folder: Path, items: Mapping[str, Any]) -> None:
    try:
        with _quiet_threads(), _checkpointer() as checkpointer:
            checkpointer.save(folder, args=ocp.args.Composite(**items))
    except OSError:
        raise
    except Exception as error:  # tensorstore reports a full disk and the like as ValueError
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), os.fspath(folder)) from error
        raise OSError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return (line or type(error).__name__)[:200]
