"""A training in few small files: parameters in float16, the optimizer's state in float32.

params.safetensors      as scripts/export_params.py writes it: a start for everything else
moments_1.safetensors   the optimizer's state and the averages of the layers' losses, with
                        moments_2 ... where one would be too large
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.outer_step import TrainState
from metastyle_jax.storage import digest, safetensors_file, style_file
from metastyle_jax.training import meta_training

PARAMS = "params.safetensors"
MOMENTS = "moments_{}.safetensors"
AVERAGES = "averages"
LARGEST = 15 * 2**20  # bytes of arrays in one file


def save(folder: Path, state: TrainState, settings: Mapping[str, Any], command: str) -> None:
    """Write all files of a state; each appears whole or not at all.

    Raises:
      ValueError: a parameter is not finite; then nothing is written.
    """
    state = jax.device_get(state)
    parts = {name: part for name, part in state.params.parts().items() if name != "inner_rates"}
    path = folder / PARAMS
    style_file.save_params(path, parts, settings=settings, command=command, dtype="float16")
    arrays = {"step": np.asarray(state.step), **digest.leaves_by_path(state.opt_state)}
    groups = _groups(arrays | digest.leaves_by_path({AVERAGES: state.averages}))
    for number, arrays in enumerate(groups, 1):
        safetensors_file.write(folder / MOMENTS.format(number), arrays)


def load(folder: Path, state: TrainState) -> TrainState:
    """The state that `save` wrote, its parameters rounded to float16.

    Args:
      folder: with the files.
      state: a new one, whose shapes must be those of the files.

    Raises:
      UserError: a file is missing, damaged or of another training.
    """
    params = meta_training.trained_params(str(folder / PARAMS), state.params)
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob(MOMENTS.format("*"))):
        arrays |= safetensors_file.read(path)[0]
    opt_state = digest.leaves_by_path(state.opt_state)
    leaves = [_like(folder, arrays, name, leaf) for name, leaf in opt_state.items()]
    averages = {
        name: _like(folder, arrays, name, leaf)
        for name, leaf in digest.leaves_by_path({AVERAGES: state.averages}).items()
    }
    return TrainState(
        _like(folder, arrays, "step", state.step),
        params,
        jax.tree.unflatten(jax.tree.structure(state.opt_state), leaves),
        jax.tree.unflatten(jax.tree.structure(state.averages), list(averages.values())),
    )


def _like(folder: Path, arrays: Mapping[str, np.ndarray], name: str, leaf: Any) -> jax.Array:
    # by size: the files hold numbers as arrays of one
    if name not in arrays or arrays[name].size != np.size(leaf):
        raise UserError(
            f"{folder} is of another training: {name} is missing in its moments, or has another "
            "shape; leave --resume-from out, or give the flags of that training"
        )
    return jax.numpy.asarray(arrays[name].reshape(np.shape(leaf)))


def _groups(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The arrays in as few groups of at most `LARGEST` bytes as their order allows."""
    groups: list[dict[str, np.ndarray]] = [{}]
    for name, array in arrays.items():
        if sum(other.nbytes for other in groups[-1].values()) + array.nbytes > LARGEST:
            groups.append({})
        groups[-1][name] = array
    return groups
