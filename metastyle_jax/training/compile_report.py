"""What `metastyle train --compile-only` prints: the compiled outer step, before anything is run."""

from __future__ import annotations

import jax

from metastyle_jax.runtime import compilation_cache
from metastyle_jax.settings.schema import Settings
from metastyle_jax.training import step_memory
from metastyle_jax.training.plan_report import show_size
from metastyle_jax.training.program import pick_devices


def report(config: Settings) -> str:
    """Compile the very step that a training with `config` runs, and describe it.

    Nothing is read but file names, and nothing is run. Where compiled programs are kept (GPU, TPU),
    the training finds it.

    Raises:
      UserError: a setting cannot be used, or the compiler finds no room for the step.
    """
    devices = pick_devices(config)
    compiled = step_memory.compile_step(config)
    memory = compiled.memory
    styles, contents, size = config.batch.styles, config.batch.contents, config.data.image_size
    count = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
    each = "" if len(devices) == 1 else " on each device"
    kept = "kept" if compilation_cache.enabled() else "not kept"
    return "\n".join(
        [
            f"compiled the outer step for {jax.default_backend()} ({count}) in "
            f"{compiled.seconds:.1f} s; {kept} for the training",
            f"{styles} styles x {contents} contents of {size} px, T = {config.inner.steps}, "
            f"estimator {config.outer.estimator}",
            f"memory{each}: {show_size(memory.total)} (state {show_size(memory.state)}, features "
            f"{show_size(memory.features)}, batch {show_size(memory.batch)}, temporary "
            f"{show_size(memory.temporary)}) of {show_size(step_memory.device_memory(devices))}",
            f"operations{each}: {compiled.operations:.3g}",
        ]
    )
