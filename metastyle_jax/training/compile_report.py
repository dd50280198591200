"""What `metastyle train --compile-only` prints: the compiled outer step, before anything is run."""

from __future__ import annotations

from metastyle_jax.runtime import compilation_cache, sharding
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import step_memory
from metastyle_jax.training.plan_report import show_size
from metastyle_jax.training.program import pick_devices


def report(config: Settings, described: list[sharding.Device] | None = None) -> str:
    """Compile the very step that a training with `config` runs, and describe it.

    Nothing is read but file names, and nothing is run. Where compiled programs are kept (GPU, TPU),
    a training on the devices at hand has the program already.

    Args:
      config: settings.
      described: devices that are not there, see `runtime.topology`; None for those at hand.

    Raises:
      UserError: a setting cannot be used, or the compiler finds no room for the step.
    """
    devices = pick_devices(config, described)
    compiled = step_memory.compile_step(config, devices)
    memory, platform = compiled.memory, devices[0].platform
    styles, contents, size = config.batch.styles, config.batch.contents, config.data.image_size
    parts = sharding.layout(styles, contents, len(devices))
    count = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
    each = "" if len(devices) == 1 else " on each device"
    if described:
        target, room = f"described {devices[0].device_kind}, ", ""
    else:
        kept = "kept" if compilation_cache.enabled() else "not kept"
        target, room = (
            f"{kept} for the training, ",
            f" of {show_size(step_memory.device_memory(devices))}",
        )
    sent = sum(message.size for message in compiled.collectives)
    return "\n".join(
        [
            f"compiled the outer step for {platform} ({target}{count}) in {compiled.seconds:.1f} s",
            f"{styles} styles x {contents} contents of {size} px, T = {config.inner.steps}, "
            f"estimator {config.outer.estimator}, split into {parts.styles} x {parts.contents}",
            f"memory{each}: {show_size(memory.total)} (state {show_size(memory.state)}, features "
            f"{show_size(memory.features)}, batch {show_size(memory.batch)}, temporary "
            f"{show_size(memory.temporary)}){room}",
            f"operations{each}: {compiled.operations:.3g}",
            f"messages between devices: {len(compiled.collectives)}, {show_size(sent)}",
        ]
    )
