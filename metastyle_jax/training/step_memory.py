"""The memory of one outer step, from the compiled program: nothing is read and nothing is run."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.runtime import collectives, sharding
from metastyle_jax.runtime.collectives import Collective
from metastyle_jax.settings import construction
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import training_pictures
from metastyle_jax.training.program import pick_devices, task_shapes, wrap_steps


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one outer step on each device.

    Attributes:
      state: parameters and the outer optimizer's moments.
      features: weights of the feature network.
      batch: this device's styles, and all contents; or its part of the cached pictures.
      arguments: these three, as the compiler lays them out.
      temporary: activations and whatever else lives only within the step.
      results: what the step returns beside the memory of its arguments: metrics; with pmap, which
        does not take over the old state's memory, the new state too.
    """

    state: int
    features: int
    batch: int
    arguments: int
    temporary: int
    results: int

    @property
    def total(self) -> int:
        return self.arguments + self.temporary + self.results


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """One compiled outer step.

    Attributes:
      memory: on each device.
      operations: floating point, on each device; of the compiled program, but on GPU, where the
        program before it is compiled says more.
      collectives: what it sends between devices.
      seconds: that compiling took.
    """

    memory: Memory
    operations: float
    collectives: Sequence[Collective]
    seconds: float


def step_memory(config: Settings) -> Memory:
    """The memory of the outer step that training runs with `config`, see `compile_step`."""
    return compile_step(config, pick_devices(config)).memory


def compile_step(config: Settings, devices: list[sharding.Device]) -> CompiledStep:
    """Compile the outer step that training runs with `config` on these devices, from shapes.

    The devices need not be there, see `runtime.topology`.

    Raises:
      UserError: the compiler itself finds no room for it.
    """
    optimizer = construction.make_outer_optimizer(config)
    step = wrap_steps(config, optimizer, devices)[1]
    shapes = argument_shapes(config, optimizer, step, devices)
    begin = time.perf_counter()
    lowered = step.step.lower(*shapes)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"one outer step of config.inner.steps={config.inner.steps} and config.batch.styles="
            f"{config.batch.styles} is too large for {devices[0].platform} to compile: plan with "
            "a smaller batch"
        ) from error
    seconds = time.perf_counter() - begin
    counted = lowered if devices[0].platform == "gpu" else compiled
    return CompiledStep(
        memory=_memory(compiled.memory_analysis(), shapes),
        operations=(counted.cost_analysis() or {}).get("flops", 0.0),
        collectives=collectives.in_program(compiled.as_text()),
        seconds=seconds,
    )


def _memory(analysis: Any, shapes: tuple[Any, Any, Any]) -> Memory:
    state, batch, features = (_bytes_per_device(tree) for tree in shapes)
    return Memory(
        state=state,
        features=features,
        batch=batch,
        arguments=analysis.argument_size_in_bytes,
        temporary=analysis.temp_size_in_bytes,
        results=analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
    )


def device_memory(devices: list[sharding.Device]) -> int:
    """Bytes that each device may use: its own limit, or its share of the machine's free memory."""
    here = sharding.local_devices(devices)
    stats = here[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        lines = Path("/proc/meminfo").read_text()
    except OSError:  # not Linux
        lines = ""
    if free := re.search(r"^MemAvailable:\s+(\d+) kB$", lines, re.M):
        return int(free[1]) * 1024 // len(here)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(here)


def argument_shapes(
    config: Settings, optimizer: Any, step: sharding.Parallel, devices: list[sharding.Device]
) -> tuple[Any, Any, Any]:
    """(state, batch, feature network) of the step as shapes, placed as training places them."""

    def images(count: int) -> jax.ShapeDtypeStruct:
        size = config.data.image_size
        return jax.ShapeDtypeStruct((count, size, size, 3), np.float32)

    def init() -> outer_step.TrainState:
        params = construction.init_params(config, jax.random.key(0))
        return construction.init_state(config, params, optimizer)

    styles, contents = config.batch.styles, config.batch.contents
    if config.data.cache:
        batch = step.place_rows(training_pictures.cache_shapes(config, devices))
    else:
        batch = Batch(styles=images(styles), support=images(contents), query=images(contents))
    return (
        step.replicate(jax.eval_shape(init)),
        step.place_batch(batch),
        step.replicate(jax.tree.map(_as_shape, task_shapes(config))),
    )


def _as_shape(leaf: Any) -> jax.ShapeDtypeStruct:
    """Loss weights are numbers; a device that is only described holds none."""
    dtype = jax.dtypes.canonicalize_dtype(np.result_type(leaf))
    return jax.ShapeDtypeStruct(np.shape(leaf), dtype)


def _bytes_per_device(tree: Any) -> int:
    return sum(
        int(np.prod(leaf.sharding.shard_shape(leaf.shape))) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
