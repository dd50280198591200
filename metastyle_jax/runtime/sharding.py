"""Data parallelism: one per-replica step, wrapped by `jit(shard_map)` or by `jax.pmap`.

The styles of a batch are split among the devices of all processes; contents, state and the task are
on every device. The step itself averages its gradients with `lax.pmean(..., AXIS)`.

With several processes a step also counts the requests to stop, so that all of them read the same
number and end after the same step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.runtime import compilation

AXIS = "data"
STOP_VOTES = "stop_votes"  # metric of a step with several processes: devices asked to stop
Kind = Literal["shard_map", "pmap"]
# JAX declares it as a variable
Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]
KINDS = ("shard_map", "pmap")


class Parallel(NamedTuple):
    """A wrapped step and how its arguments get to the devices.

    Attributes:
      step: (state, placed batch, task) -> (state, metrics), both replicated.
      replicate: pytree -> the same on every device.
      place_batch: (host batch, whether this process asks to stop) -> what `step` takes. Every
        process passes all contents, but of the styles only its own.
      share: (styles of a whole batch) -> (first, count), those of this process.

    Both take `jax.ShapeDtypeStruct` in the place of arrays and then return such, with the sharding
    that the array would have: enough to lower the very program that arrays would run.
    """

    step: Callable[..., tuple[Any, Any]]
    replicate: Callable[[Any], Any]
    place_batch: Callable[..., Any]
    share: Callable[[int], tuple[int, int]]


def in_order(devices: Sequence[Device]) -> list[Device]:
    """Devices with those of one process next to each other."""
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def _share(devices: Sequence[Device], styles: int) -> tuple[int, int]:
    local = _local(devices)
    each = styles // len(devices)
    return each * local[0], each * len(local)


def _local(devices: Sequence[Device]) -> list[int]:
    """Numbers of the devices of this process."""
    return [n for n, device in enumerate(devices) if device.process_index == jax.process_index()]


def check_divisible(styles: int, devices: int) -> None:
    """Every device must get the same number of styles.

    Raises:
      UserError: they do not divide.
    """
    if styles % devices:
        raise UserError(
            f"config.batch.styles={styles} cannot be split among {devices} devices: "
            f"use a multiple of {devices}, or set config.parallel.devices"
        )


def parallelize(
    step: Callable[..., tuple[Any, Any]], *, kind: Kind, devices: Sequence[Device]
) -> Parallel:
    """Wrap the per-replica `step(state, batch, task)`.

    Args:
      step: averages gradients and metrics over `AXIS`; it sees S / D styles and all contents.
      kind: "shard_map", or "pmap", the older way.
      devices: D of them, of all processes, see `in_order`.

    Raises:
      UserError: unknown kind.
    """
    if kind == "shard_map":
        return _shard_map(step, devices)
    if kind == "pmap":
        return _pmap(step, devices)
    raise UserError(f"config.parallel.kind={kind!r} is unknown: use {' or '.join(KINDS)}")


def _shard_map(step: Callable, devices: Sequence[Device]) -> Parallel:
    mesh = Mesh(np.asarray(devices), (AXIS,))
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    specs: Any = Batch(styles=split, support=everywhere, query=everywhere)
    several = len(_local(devices)) < len(devices)
    if several:
        step, specs = _counting_votes(step), (specs, split)
    wrapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(everywhere, specs, everywhere),
        out_specs=everywhere,
        # with the check, the inner gradient with respect to replicated parameters would be summed
        # over the devices
        check_vma=False,
    )

    def place_batch(batch: Batch, stop: bool = False) -> Any:
        placed = (batch, _votes(devices, stop)) if several else batch
        return jax.tree.map(lambda leaf, spec: _place(leaf, mesh, spec), placed, specs)

    return Parallel(
        step=compilation.jit(wrapped, donate_argnums=0),
        replicate=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, everywhere), tree),
        place_batch=place_batch,
        share=functools.partial(_share, devices),
    )


def _votes(devices: Sequence[Device], stop: bool) -> np.ndarray:
    """One number for each device of this process."""
    return np.full(len(_local(devices)), stop, np.int32)


def _counting_votes(step: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    def counting(state: Any, placed: tuple[Batch, jax.Array], task: Any) -> tuple[Any, Any]:
        batch, votes = placed
        state, metrics = step(state, batch, task)
        return state, {**metrics, STOP_VOTES: jax.lax.psum(votes.sum(), AXIS)}

    return counting


def _pmap(step: Callable, devices: Sequence[Device]) -> Parallel:
    local = _local(devices)
    axes: Any = Batch(styles=0, support=None, query=None)
    several = len(local) < len(devices)
    if several:
        step, axes = _counting_votes(step), (axes, 0)
    wrapped = jax.pmap(step, AXIS, in_axes=(None, axes, None), out_axes=None, devices=list(devices))
    # placed, not left to pmap: it would send the state of a resumed run and the feature network
    # from the host again at every step
    mesh = Mesh(np.asarray(devices)[local], (AXIS,))
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)

    def place_batch(batch: Batch, stop: bool = False) -> Any:
        styles = batch.styles
        shape = (len(local), styles.shape[0] // len(local), *styles.shape[1:])
        if isinstance(styles, jax.ShapeDtypeStruct):
            shares = jax.ShapeDtypeStruct(shape, styles.dtype)
        else:
            shares = styles.reshape(shape)
        placed = Batch(
            styles=_place(shares, mesh, split),
            support=_place(batch.support, mesh, everywhere),
            query=_place(batch.query, mesh, everywhere),
        )
        return (placed, _place(_votes(devices, stop), mesh, split)) if several else placed

    return Parallel(
        step=wrapped,
        replicate=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, everywhere), tree),
        place_batch=place_batch,
        share=functools.partial(_share, devices),
    )


def _place(array: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array | jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, spec)
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    array = np.asarray(array)
    # loss weights are Python numbers, float64 as arrays
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return jax.make_array_from_process_local_data(sharding, array)
