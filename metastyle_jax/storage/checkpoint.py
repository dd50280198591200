"""Orbax checkpoints of a training state, with a digest of every array.

A checkpoint that is not bit for bit what was saved is *damaged*: it is reported on the log, in one
line, and the one before it is used. How that is known, and the layout on disk, is the matter of
`checkpoint_files.py`. The arrays are stored unsharded and by name, so that neither the devices nor
the container types of the state need to be the same when reading. One process writes at a time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage import checkpoint_files, checkpoint_match
from metastyle_jax.storage.atomic import write_error
from metastyle_jax.storage.checkpoint_files import Damaged
from metastyle_jax.storage.digest import combined_digest, leaves_by_path, nest

DIRECTORY_NAME = "checkpoints"  # of the checkpoints in a workdir

_logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training run: a context manager around a folder.

    Args:
      directory: holds one folder per step; made by the first `save`.
      keep: how many of the newest checkpoints to keep, at least 1.
      configuration: all settings of the run, recorded in each checkpoint; anything that JSON can
        hold, by dotted name (`{"model.width": 32, ...}`).

    Attributes:
      recorded: the configuration of the checkpoint that was restored; None if none was.
    """

    def __init__(
        self, directory: str | Path, *, keep: int = 3, configuration: Mapping[str, Any]
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self.directory = Path(directory).absolute()
        self._keep = keep
        self._configuration = _as_json(configuration)
        self.recorded: Mapping[str, Any] | None = None
        self._newest: int | None = None  # step that this object has saved or restored last

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is pending: `save` returns when the checkpoint is on disk."""

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, damaged or not, oldest first."""
        return sorted(_steps(self.directory))

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint, whole or not at all, then delete those beyond the newest `keep`.

        Saving again the step that was saved or restored last does nothing.

        Args:
          step: how many training steps were done, >= 0.
          state: pytree of jax or numpy arrays of any shape (not empty) and numeric dtype, as dicts,
            flax.struct dataclasses, NamedTuples ...; PRNG keys as `jax.random.key_data`. What is
            under `params` can be read alone by `read_params`.

        Raises:
          UserError: the folder cannot be written (older checkpoints are still there), or it holds
            a checkpoint of this or a later step, of a run that was not resumed.
          TypeError, ValueError: the state holds something that is no such array.
        """
        if step == self._newest:
            return
        if later := [other for other in self.steps() if other >= step]:
            raise UserError(
                f"{self.directory} already has a checkpoint of step {later[-1]}; continue that run "
                "with --resume or use another --workdir"
            )
        arrays = _host_arrays(state)
        folder = self.directory / str(step)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            checkpoint_files.remove_leftovers(self.directory)
            checkpoint_files.write(folder, step, arrays, self._configuration)
        except OSError as error:
            raise write_error(folder, error) from error
        self._newest = step
        for old in self.steps()[: -self._keep]:
            checkpoint_files.remove(self.directory / str(old))

    def start(self, state: Any, configuration: Mapping[str, Any], *, resume: bool) -> Any:
        """Where a run begins: at `state`, or at the newest intact checkpoint if it is to resume.

        Says on the terminal what it did. Arguments as those of `restore_latest`.

        Raises:
          UserError: there are checkpoints that would not be resumed; and as `restore_latest`.
        """
        if not resume:
            if steps := self.steps():
                raise UserError(
                    f"{self.directory} already has a checkpoint of step {steps[-1]}: continue "
                    "that run with --resume, or use another --workdir"
                )
            return state
        restored = self.restore_latest(state, configuration)
        if restored is None:
            _logger.info(f"no checkpoint in {self.directory}: starting from the beginning")
            return state
        _logger.info(f"resumed from the checkpoint of step {restored[1]}")
        return restored[0]

    def restore_latest(
        self, template_state: Any, configuration: Mapping[str, Any]
    ) -> tuple[Any, int] | None:
        """Read the newest intact checkpoint.

        Each damaged one that is passed over is logged as a warning, in one line, and moved aside as
        `<step>.damaged` once an older one has been read.

        Args:
          template_state: a state of the structure, shapes and dtypes wanted; its leaves may be
            arrays or `jax.ShapeDtypeStruct`.
          configuration: the settings, by dotted name, that must be the recorded ones.

        Returns:
          `(state, step)`, bit for bit what was saved; leaves are jax arrays on the default device,
          or numpy arrays where the template has numpy arrays. None if there are no checkpoints.

        Raises:
          UserError: the checkpoint is of another configuration, or none is intact.
        """
        wanted = _as_json(configuration)
        damaged: list[Path] = []
        for step in reversed(self.steps()):
            folder = self.directory / str(step)
            try:
                record = checkpoint_files.read_record(folder)
                if record["step"] != step:
                    raise Damaged(f"it is of step {record['step']}")
                checkpoint_match.check_configuration(folder, record, wanted)
                names = checkpoint_match.match_arrays(folder, record, template_state)
                arrays = checkpoint_files.read_arrays(folder, record)
            except Damaged as damage:
                _report(folder, damage)
                damaged.append(folder)
                continue
            for path in damaged:
                with contextlib.suppress(OSError):
                    _move_aside(path)
            self._newest, self.recorded = step, record["configuration"]
            found = {name: arrays[there] for name, there in names.items()}
            return _like(template_state, found), step
        if damaged:
            raise UserError(f"no checkpoint in {self.directory} is intact; use another --workdir")
        return None


def read_params(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the parameters of a checkpoint, without the rest of the training state.

    Args:
      path: a workdir, its `checkpoints` folder (both: the newest intact checkpoint, with a warning
        on the log for each damaged one passed over), or the folder of one step.

    Returns:
      `(params, record)`: nested dicts of numpy arrays as they were under `params` in the state, and
      the record, whose entries are `step`, `configuration`, `versions` and `arrays`.

    Raises:
      UserError: the path is no checkpoint or holds none that is intact.
    """
    path = Path(path).expanduser().absolute()
    candidates = _candidates(path)
    for folder in candidates:
        try:
            record = checkpoint_files.read_record(folder)
            arrays = checkpoint_files.read_arrays(folder, record, only="params")
        except Damaged as damage:
            if folder == path:
                raise UserError(f"checkpoint {path} is damaged: {damage}; use another") from damage
            _report(folder, damage)
            continue
        if not arrays:
            raise UserError(f"checkpoint {folder} holds no params; use that of a training run")
        params = nest({name.removeprefix("params/"): array for name, array in arrays.items()})
        return params, record
    raise UserError(f"no checkpoint in {path} is intact; use another")


def of_step(path: str | Path, step: int) -> Path:
    """The folder of the checkpoint of `step` in a workdir, or in its `checkpoints` folder.

    Raises:
      UserError: there is none of that step, or none at all; says which there are.
    """
    candidates = _candidates(Path(path).expanduser())
    for folder in candidates:
        if folder.name == str(step):
            return folder
    there = ", ".join(folder.name for folder in reversed(candidates))
    raise UserError(
        f"{path} has no checkpoint of step {step} (any more: config.checkpoint.keep of the newest "
        f"stay), but of {there}"
    )


def step_with(path: str | Path, weights_digest: str) -> int | None:
    """The newest step in a workdir whose weights have that `digest.tree_digest`, if one is left.

    By the records alone: no array is read. None too if `path` is nothing of that kind.
    """
    try:
        candidates = _candidates(Path(path).expanduser())
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


def _report(folder: Path, damage: Damaged) -> None:
    _logger.warning("checkpoint %s is damaged and is not used: %s", folder, damage)


def _candidates(path: Path) -> list[Path]:
    """Folders of single checkpoints that `path` stands for, newest first."""
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}")
    if checkpoint_files.looks_like_one(path):
        return [path]
    for directory in (path, path / DIRECTORY_NAME):
        if steps := _steps(directory):
            return [directory / str(step) for step in sorted(steps, reverse=True)]
    raise UserError(f"{path} is no checkpoint, nor a workdir with checkpoints")


def _steps(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    # only names as `save` writes them, so that "007" is not taken for step 7
    return [int(name) for name in names if name.isdecimal() and name == str(int(name))]


def _move_aside(folder: Path) -> None:
    """Keep a damaged checkpoint for a look at it, but out of the way of `steps`."""
    target = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def _as_json(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """As the configuration will read back from JSON: tuples are lists, keys are strings."""
    return json.loads(json.dumps(dict(configuration)))


def _host_arrays(state: Any) -> dict[str, np.ndarray]:
    leaves = leaves_by_path(state)
    for name, leaf in leaves.items():
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise TypeError(f"{name} is a {type(leaf).__name__}, not an array")
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise TypeError(f"{name} is a typed key: store its jax.random.key_data")
        if leaf.dtype.hasobject:
            raise TypeError(f"{name} holds Python objects")
        if leaf.size == 0:
            raise ValueError(f"{name} has no elements (shape {leaf.shape}), which Orbax refuses")
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(leaves).items()}


def _like(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The arrays in the containers of the template."""

    def leaf_like(leaf: Any, array: np.ndarray) -> Any:
        # int64 and the like would lose bits on the device if jax_enable_x64 is off
        fits = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
        if isinstance(leaf, np.ndarray | np.generic) or not fits:
            return array
        return jnp.array(array)  # a copy: it may be donated

    leaves = [leaf_like(leaf, arrays[name]) for name, leaf in leaves_by_path(template).items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)
