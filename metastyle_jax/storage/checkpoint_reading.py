"""Reading checkpoints without the run that wrote them: parameters, steps, digests."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from metastyle_jax.errors import UserError
from metastyle_jax.storage import checkpoint_files
from metastyle_jax.storage.checkpoint_files import Damaged
from metastyle_jax.storage.digest import combined_digest, nest
from metastyle_jax.storage.home_folder import exists, expanded, is_folder

DIRECTORY_NAME = "checkpoints"  # folder of the checkpoints in a workdir

_logger = logging.getLogger(__name__)


def read_params(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the parameters of a checkpoint, without the rest of the training state.

    Args:
      path: the folder of one step; or a workdir or its `checkpoints` folder, for the newest intact
        checkpoint (a warning is logged for each damaged one).

    Returns:
      `(params, record)`: nested dicts of the numpy arrays under `params` in the state, and the
      record with `step`, `configuration`, `versions` and `arrays`.

    Raises:
      UserError: the path is no checkpoint or has no intact one.
    """
    path = expanded(path).absolute()
    candidates = _candidates(path)
    for folder in candidates:
        try:
            record = checkpoint_files.read_record(folder)
            arrays = checkpoint_files.read_arrays(folder, record, only="params")
        except Damaged as damage:
            if folder == path:
                raise UserError(f"checkpoint {path} is damaged: {damage}; use another") from damage
            warn_of_damage(folder, damage)
            continue
        if not arrays:
            raise UserError(f"checkpoint {folder} holds no params; use that of a training run")
        params = nest({name.removeprefix("params/"): array for name, array in arrays.items()})
        return params, record
    raise UserError(f"no checkpoint in {path} is intact; use another")


def of_step(path: str | Path, step: int) -> Path:
    """The folder of the checkpoint of `step` in a workdir, or in its `checkpoints` folder.

    Raises:
      UserError: there is no such checkpoint; the message lists those that exist.
    """
    candidates = _candidates(expanded(path))
    for folder in candidates:
        if folder.name == str(step):
            return folder
    existing = ", ".join(folder.name for folder in reversed(candidates))
    raise UserError(
        f"{path} has no checkpoint of step {step} (any more: config.checkpoint.keep of the newest "
        f"stay), but of {existing}"
    )


def damages(path: str | Path) -> dict[Path, str]:
    """What is wrong with each checkpoint of a workdir, by its folder, oldest first; "" if nothing.

    Reads all files and arrays.

    Raises:
      UserError: `path` is no checkpoint, nor has any; or one is of another version.
    """
    found = {}
    for folder in reversed(_candidates(expanded(path))):
        whole = folder.absolute()  # for Orbax
        try:
            checkpoint_files.read_arrays(whole, checkpoint_files.read_record(whole))
        except Damaged as damage:
            found[folder] = str(damage)
        else:
            found[folder] = ""
    return found


def step_with(path: str | Path, weights_digest: str) -> int | None:
    """The newest step in a workdir whose weights have that `digest.tree_digest`.

    Reads the records only, no arrays. None if there is no such step or no workdir.
    """
    try:
        candidates = _candidates(expanded(path))
    except UserError:
        return None
    for folder in candidates:
        with contextlib.suppress(Damaged, UserError):
            record = checkpoint_files.read_record(folder)
            prefix = "params/weights/"
            digests = {
                name.removeprefix(prefix): entry["sha256"]
                for name, entry in record["arrays"].items()
                if name.startswith(prefix)
            }
            if combined_digest(digests) == weights_digest:
                return record["step"]
    return None


def is_of_training(path: Path) -> bool:
    """Whether a folder is a checkpoint, holds checkpoints, or is a workdir, also before the first.

    Stricter than what is tried when somebody says that it is one: a folder of pictures may have
    folders `2024` or `training`.
    """
    steps = (path / str(step) for step in steps_in(path))
    found = any((folder / checkpoint_files.RECORD_NAME).is_file() for folder in (path, *steps))
    return found or (path / DIRECTORY_NAME).is_dir()


def warn_of_damage(folder: Path, damage: Damaged) -> None:
    """Log one line on a checkpoint that is passed over."""
    _logger.warning("checkpoint %s is damaged and is not used: %s", folder, damage)


def _candidates(path: Path) -> list[Path]:
    """Folders of the checkpoints in `path`, newest first."""
    if not exists(path):
        raise UserError(f"there is no checkpoint {path}")
    if checkpoint_files.looks_like_one(path):
        return [path]
    for directory in (path, path / DIRECTORY_NAME):
        if steps := steps_in(directory):
            return [directory / str(step) for step in sorted(steps, reverse=True)]
    raise UserError(f"{path} is no checkpoint, nor a workdir with checkpoints")


def steps_in(directory: Path) -> list[int]:
    """Steps of all checkpoints in a folder, in any order."""
    if not is_folder(directory):
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    # only names that `save` writes: "007" is not step 7
    return [int(name) for name in names if name.isdecimal() and name == str(int(name))]
