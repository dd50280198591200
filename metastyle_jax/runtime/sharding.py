"""Data parallelism: one per-replica step, wrapped by `jit(shard_map)` or by `jax.pmap`.

The styles of a batch are split among the devices of all processes. Where there are more devices
than styles, several devices have the same styles and split the contents. State and task are on
every device. The step itself averages its gradients over both axes.

With several processes a step also counts the requests to stop, so that all of them read the same
number and end after the same step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metastyle_jax.errors import UserError
from metastyle_jax.metalearning.structures import Axes, Batch
from metastyle_jax.runtime import compilation

AXIS = "data"  # of styles
CONTENTS = "contents"
STOP_VOTES = "stop_votes"  # metric of a step with several processes: devices asked to stop
Kind = Literal["shard_map", "pmap"]
# JAX declares it as a variable
Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]
KINDS = ("shard_map", "pmap")


class Layout(NamedTuple):
    """How devices share a batch.

    Attributes:
      styles: parts that the styles are split into.
      contents: parts that the contents are split into; 1 for contents that are whole everywhere.
    """

    styles: int
    contents: int = 1

    @property
    def axes(self) -> Axes:
        """Names of the mapped axes."""
        return Axes(AXIS, CONTENTS if self.contents > 1 else None)


# of styles, and of contents: number of the first one, how many
Shares: TypeAlias = tuple[tuple[int, int], tuple[int, int]]


class Parallel(NamedTuple):
    """A wrapped step and how its arguments get to the devices.

    Attributes:
      step: (state, placed batch, task) -> (state, metrics), both replicated.
      replicate: pytree -> the same on every device.
      place_batch: (host batch, whether this process asks to stop) -> what `step` takes. Every
        process passes its own part of the batch. Of a step on cached data it takes what
        `place_rows` returned.
      share: (styles, contents of a whole batch) -> those of this process.
      place_rows: pytree of the rows of this process -> the same split among all devices.

    `replicate`, `place_batch` and `place_rows` take `jax.ShapeDtypeStruct` in the place of arrays
    and then return such, with the sharding of the array: enough to lower the very program that
    arrays would run.
    """

    step: Callable[..., tuple[Any, Any]]
    replicate: Callable[[Any], Any]
    place_batch: Callable[..., Any]
    share: Callable[[int, int], Shares]
    place_rows: Callable[[Any], Any]


def in_order(devices: Sequence[Device]) -> list[Device]:
    """Devices with those of one process next to each other."""
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def local_devices(devices: Sequence[Device]) -> list[Device]:
    """Those of this process; only they say their memory."""
    return [device for device in devices if device.process_index == jax.process_index()]


def _local(devices: Sequence[Device]) -> list[int]:
    """Numbers of the devices of this process."""
    return [n for n, device in enumerate(devices) if device.process_index == jax.process_index()]


def layout(styles: int, contents: int, devices: int) -> Layout:
    """How `devices` devices share a batch, each the same number of pictures.

    Contents are split only where there are more devices than styles to split.

    Raises:
      UserError: the batch cannot be split so.
    """
    parts = Layout(math.gcd(styles, devices), devices // math.gcd(styles, devices))
    if contents % parts.contents:
        raise UserError(
            f"config.batch.styles={styles} and config.batch.contents={contents} cannot be split "
            f"among {devices} devices: use a multiple of {devices} styles, or "
            f"{parts.contents} contents for {parts.styles}, or set config.parallel.devices"
        )
    return parts


def rows_here(count: int, devices: Sequence[Device]) -> range:
    """Rows of this process where `count` are split among all devices; the last ones may be empty.

    Each device gets the same number, so that the range may reach beyond `count`.
    """
    per_device, local = math.ceil(count / len(devices)), _local(devices)
    return range(min(local) * per_device, (max(local) + 1) * per_device)


def parallelize(
    step: Callable[..., tuple[Any, Any]],
    *,
    kind: Kind,
    devices: Sequence[Device],
    parts: Layout | None = None,
    cached: bool = False,
) -> Parallel:
    """Wrap the per-replica `step(state, batch, task)`.

    Args:
      step: averages gradients and metrics over the axes of `parts`; it sees its part of a batch.
      kind: "shard_map", or "pmap", the older way, with one axis.
      devices: D of them, of all processes, see `in_order`.
      parts: how they share a batch; None for styles among all of them.
      cached: the step takes rows that all devices share, see `place_rows`, in the place of a batch.

    Raises:
      UserError: unknown kind, or one that cannot split contents or rows.
    """
    parts = parts or Layout(len(devices))
    if kind == "shard_map":
        return _shard_map(step, devices, parts, cached)
    if kind == "pmap" and cached:
        raise UserError(
            "config.parallel.kind=pmap cannot read config.data.cache=device: use shard_map"
        )
    if kind == "pmap" and parts.contents > 1:
        raise UserError(
            f"config.parallel.kind=pmap cannot split contents, but {len(devices)} devices share "
            f"{parts.styles} parts of the styles: use shard_map, or more config.batch.styles"
        )
    if kind == "pmap":
        return _pmap(step, devices)
    raise UserError(f"config.parallel.kind={kind!r} is unknown: use {' or '.join(KINDS)}")


def _shard_map(step: Callable, devices: Sequence[Device], parts: Layout, cached: bool) -> Parallel:
    mesh = Mesh(np.asarray(devices).reshape(parts), (AXIS, CONTENTS))
    everywhere, of_styles, of_contents = (
        PartitionSpec(),
        PartitionSpec(AXIS),
        PartitionSpec(CONTENTS),
    )
    rows = PartitionSpec(mesh.axis_names)
    of_batch = Batch(styles=of_styles, support=of_contents, query=of_contents)
    specs: Any = rows if cached else of_batch
    several = len(_local(devices)) < len(devices)
    if several:
        step = _counting_votes(step, mesh.axis_names)
        specs = (specs, rows)
    wrapped = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(everywhere, specs, everywhere),
        out_specs=everywhere,
        # with the check, the inner gradient with respect to replicated parameters would be summed
        # over the devices
        check_vma=False,
    )

    def place_batch(batch: Any, stop: bool = False) -> Any:
        if not cached:
            batch = jax.tree.map(lambda leaf, spec: _place(leaf, mesh, spec), batch, of_batch)
        if not several:
            return batch
        votes = _votes(devices, stop, like=jax.tree.leaves(batch)[0])
        return batch, _place(votes, mesh, rows)

    return Parallel(
        step=compilation.jit(wrapped, platform=devices[0].platform, donate_argnums=0),
        replicate=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, everywhere), tree),
        place_batch=place_batch,
        share=functools.partial(_share, devices, parts),
        place_rows=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, rows), tree),
    )


def _share(devices: Sequence[Device], parts: Layout, styles: int, contents: int) -> Shares:
    local = np.asarray(_local(devices))
    rows, columns = np.unique(local // parts.contents), np.unique(local % parts.contents)
    if len(rows) * len(columns) != len(local):
        raise UserError(
            f"{len(local)} devices of a process cannot share {parts.contents} parts of the "
            "contents: use another config.batch.styles"
        )
    of_styles, of_contents = styles // parts.styles, contents // parts.contents
    return (
        (int(rows[0]) * of_styles, len(rows) * of_styles),
        (int(columns[0]) * of_contents, len(columns) * of_contents),
    )


def _votes(devices: Sequence[Device], stop: bool, like: Any) -> Any:
    """One number for each device of this process; a shape, of all, if `like` is one."""
    if isinstance(like, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(devices),), np.int32)
    return np.full(len(_local(devices)), stop, np.int32)


def _counting_votes(step: Callable[..., tuple[Any, Any]], axes: Any) -> Callable[..., Any]:
    def counting(state: Any, placed: tuple[Any, jax.Array], task: Any) -> tuple[Any, Any]:
        batch, votes = placed
        state, metrics = step(state, batch, task)
        return state, {**metrics, STOP_VOTES: jax.lax.psum(votes.sum(), axes)}

    return counting


def _pmap(step: Callable, devices: Sequence[Device]) -> Parallel:
    local = _local(devices)
    axes: Any = Batch(styles=0, support=None, query=None)
    several = len(local) < len(devices)
    if several:
        step, axes = _counting_votes(step, AXIS), (axes, 0)
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
        if not several:
            return placed
        return placed, _place(_votes(devices, stop, like=styles), mesh, split)

    return Parallel(
        step=wrapped,
        replicate=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, everywhere), tree),
        place_batch=place_batch,
        share=functools.partial(_share, devices, Layout(len(devices))),
        place_rows=lambda tree: jax.tree.map(lambda leaf: _place(leaf, mesh, split), tree),
    )


def _place(array: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array | jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, spec)
    if isinstance(array, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    array = np.asarray(array)
    # loss weights are Python numbers, float64 as arrays
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return jax.make_array_from_process_local_data(sharding, array, _whole(array, mesh, spec))


def _whole(array: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> tuple[int, ...]:
    """Shape of the array of which this process has `array`."""
    if not spec or not array.ndim:
        return array.shape
    names = [name for name in mesh.axis_names if name in np.ravel(spec[0])]
    parts = [mesh.shape[name] / mesh.local_mesh.shape[name] for name in names]
    return (round(len(array) * math.prod(parts)), *array.shape[1:])
