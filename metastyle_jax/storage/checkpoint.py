"""Orbax checkpoints of a training state, with a digest of every array.

A checkpoint that differs by a bit from what was saved is *damaged*: one line on the log reports it,
and the checkpoint before it is used. `checkpoint_files.py` describes the layout on disk and the
digests. Arrays are stored unsharded and by name, so that the state may be read with other devices
and other container types. One process writes at a time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage import checkpoint_files, checkpoint_match, checkpoint_reading
from metastyle_jax.storage.atomic import write_error
from metastyle_jax.storage.checkpoint_files import Damaged
from metastyle_jax.storage.digest import leaves_by_path

_logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training run: a context manager around a folder.

    Args:
      directory: holds one folder per step; created by the first `save`.
      keep: number of newest checkpoints to keep, at least 1.
      keep_every: older ones stay too if their step is a multiple of this; 0 for none of them.
      keep_best: so many of those saved with the lowest loss stay too.
      configuration: all settings of the run by dotted name (`{"model.width": 32, ...}`), JSON
        values; stored in each checkpoint.

    Attributes:
      recorded: configuration of the restored checkpoint; None without one.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 3,
        keep_every: int = 0,
        keep_best: int = 0,
        configuration: Mapping[str, Any],
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self.directory = Path(directory).absolute()
        self._keep, self._keep_every, self._keep_best = keep, keep_every, keep_best
        self._configuration = _as_json(configuration)
        self.recorded: Mapping[str, Any] | None = None
        self._newest: int | None = None  # step saved or restored last
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Wait for the checkpoint that is being written."""
        try:
            self.wait()
        except UserError as failed:
            if kind is None:
                raise
            _logger.warning(str(failed))  # another error is being raised already
        finally:
            self._writer.shutdown()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, damaged or not, oldest first."""
        self.wait()
        return sorted(checkpoint_reading.steps_in(self.directory))

    def save(self, step: int, state: Any, loss: float | None = None) -> None:
        """`save_later`, and wait until it is on disk."""
        self.save_later(step, state, loss)
        self.wait()

    def save_later(self, step: int, state: Any, loss: float | None = None) -> None:
        """Begin to write a complete checkpoint or none, then delete older ones that need not stay.

        The arrays are copied at once; a thread writes them. Does nothing if this step was the last
        one saved or restored.

        Args:
          step: number of training steps done, >= 0.
          state: pytree of jax or numpy arrays of any shape (not empty) and numeric dtype, as dicts,
            flax.struct dataclasses, NamedTuples ...; PRNG keys as `jax.random.key_data`.
            `checkpoint_reading.read_params` reads the part under `params` alone.
          loss: by which the best are known; None for a checkpoint that is none of them.

        Raises:
          UserError: the folder holds a checkpoint of this or a later step, of a run that was not
            resumed; or, here or when it is waited for, the checkpoint before cannot be written
            (older ones are still there).
          TypeError, ValueError: the state holds something else.
        """
        if step == self._newest:
            return
        if later := [other for other in self.steps() if other >= step]:
            raise UserError(
                f"{self.directory} already has a checkpoint of step {later[-1]}; continue that run "
                "with --resume or use another --workdir"
            )
        self._writing = self._writer.submit(self._write, step, _host_arrays(state), loss)
        self._newest = step

    def wait(self) -> None:
        """Wait for the checkpoint that is being written, if there is one.

        Raises:
          UserError: it cannot be written; older ones are still there.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except BaseException:
            self._newest = None
            raise

    def _write(self, step: int, arrays: Mapping[str, np.ndarray], loss: float | None) -> None:
        folder = self.directory / str(step)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            checkpoint_files.remove_leftovers(self.directory)
            checkpoint_files.write(folder, step, arrays, self._configuration, loss)
        except OSError as error:
            raise write_error(folder, error) from error
        steps = sorted(checkpoint_reading.steps_in(self.directory))
        best = self._best(steps) if self._keep_best else ()
        for old in steps[: -self._keep]:
            if (not self._keep_every or old % self._keep_every) and old not in best:
                checkpoint_files.remove(self.directory / str(old))

    def _best(self, steps: Sequence[int]) -> list[int]:
        losses = {}
        for step in steps:
            with contextlib.suppress(Damaged):
                loss = checkpoint_files.read_record(self.directory / str(step)).get("loss")
                if loss is not None:
                    losses[step] = loss
        return sorted(losses, key=lambda step: losses[step])[: self._keep_best]

    def start(self, state: Any, configuration: Mapping[str, Any], *, resume: bool) -> Any:
        """The first state of a run: `state`, or the newest intact checkpoint when resuming.

        Prints what it did. See `restore_latest` for the arguments.

        Raises:
          UserError: there are checkpoints but `resume` is False; see also `restore_latest`.
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

        Each damaged one is logged as a warning of one line. It is renamed to `<step>.damaged` after
        an older one has been read.

        Args:
          template_state: a state with the expected structure, shapes and dtypes; its leaves may be
            arrays or `jax.ShapeDtypeStruct`.
          configuration: settings by dotted name that must equal the recorded ones.

        Returns:
          `(state, step)` exactly as saved; leaves are jax arrays on the default device,
          or numpy arrays where the template has numpy arrays. None if there are no checkpoints.

        Raises:
          UserError: the checkpoint has another configuration, or none is intact.
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
                checkpoint_reading.warn_of_damage(folder, damage)
                damaged.append(folder)
                continue
            for path in damaged:
                with contextlib.suppress(OSError):
                    _move_aside(path)
            self._newest, self.recorded = step, record["configuration"]
            restored = {name: arrays[stored] for name, stored in names.items()}
            return _like(template_state, restored), step
        if damaged:
            raise UserError(f"no checkpoint in {self.directory} is intact; use another --workdir")
        return None


def _move_aside(folder: Path) -> None:
    """Rename a damaged checkpoint, so that it is kept but `steps` does not list it."""
    target = folder.with_name(f"{folder.name}.damaged")
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def _as_json(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as JSON returns it: tuples are lists, keys are strings."""
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
    # copies: an array may share the memory of the state, which the next step may overwrite
    return {name: np.array(leaf) for name, leaf in jax.device_get(leaves).items()}


def _like(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The arrays in the containers of the template."""

    def leaf_like(leaf: Any, array: np.ndarray) -> Any:
        # 64-bit values would lose bits on the device if jax_enable_x64 is off
        fits = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
        if isinstance(leaf, np.ndarray | np.generic) or not fits:
            return array
        return jnp.array(array)  # a copy: it may be donated

    leaves = [leaf_like(leaf, arrays[name]) for name, leaf in leaves_by_path(template).items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)
