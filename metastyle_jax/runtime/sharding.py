"""Data parallelism: one per-replica step, wrapped by `jit(shard_map)` or by `jax.pmap`.

The styles of a batch are split among the devices; contents, state and the task are on every
device. The step itself averages its gradients with `lax.pmean(..., AXIS)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.runtime import compilation

AXIS = "data"
Kind = Literal["shard_map", "pmap"]
# JAX declares it as a variable
Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]
KINDS = ("shard_map", "pmap")


class Parallel(NamedTuple):
    """A wrapped step and how its arguments get to the devices.

    Attributes:
      step: (state, batch, task) -> (state, metrics), both replicated.
      replicate: pytree -> the same on every device.
      place_batch: host batch -> batch on the devices. Every process passes the whole batch.

    Both take `jax.ShapeDtypeStruct` in the place of arrays and then return such, with the sharding
    that the array would have: enough to lower the very program that arrays would run.
    """

    step: Callable[..., tuple[Any, Any]]
    replicate: Callable[[Any], Any]
    place_batch: Callable[[Batch], Batch]


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
      devices: D of them, all of all processes.

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
    specs = Batch(styles=split, support=everywhere, query=everywhere)
    wrapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(everywhere, specs, everywhere),
        out_specs=everywhere,
        # with the check, the inner gradient with respect to replicated parameters would be summed
        # over the devices
        check_vma=False,
    )

    return Parallel(
        step=compilation.jit(wrapped, donate_argnums=0),
        replicate=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, everywhere), tree),
        place_batch=lambda batch: jax.tree.map(
            lambda leaf, spec: _place(leaf, mesh, spec), batch, specs
        ),
    )


def _pmap(step: Callable, devices: Sequence[Device]) -> Parallel:
    axes = Batch(styles=0, support=None, query=None)
    wrapped = jax.pmap(step, AXIS, in_axes=(None, axes, None), out_axes=None, devices=list(devices))
    local = [index for index, d in enumerate(devices) if d.process_index == jax.process_index()]
    # placed, not left to pmap: it would send the state of a resumed run and the feature network
    # from the host again at every step
    mesh = Mesh(np.asarray(devices)[local], (AXIS,))
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)

    def place_batch(batch: Batch) -> Batch:
        styles = batch.styles
        shape = (len(devices), styles.shape[0] // len(devices), *styles.shape[1:])
        if isinstance(styles, jax.ShapeDtypeStruct):
            shares = jax.ShapeDtypeStruct((len(local), *shape[1:]), styles.dtype)
        else:
            shares = styles.reshape(shape)[local]
        return Batch(
            styles=_place(shares, mesh, split),
            support=_place(batch.support, mesh, everywhere),
            query=_place(batch.query, mesh, everywhere),
        )

    return Parallel(
        step=wrapped,
        replicate=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, everywhere), tree),
        place_batch=place_batch,
    )


def _place(array: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array | jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, spec)
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    array = np.asarray(array)
    # loss weights are Python numbers, float64 as arrays
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
