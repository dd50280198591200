"""One of several processes: takes outer steps in float64, process 0 keeps what they reached.

python group_worker.py OUT KIND,KIND [COORDINATOR PROCESSES PROCESS_ID]
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.runtime import processes, sharding
from metastyle_jax.storage.digest import leaves_by_path

STEPS = 20


def main(out: str, kinds: str, coordinator: str = "", count: str = "", number: str = "") -> None:
    launch = processes.Launch(coordinator, int(count), int(number)) if count else processes.Launch()
    with processes.joined(launch):
        reached = {kind: take_steps(kind) for kind in kinds.split(",")}
        if processes.is_main():
            for kind, arrays in reached.items():
                np.savez(Path(out) / f"{kind}.npz", **arrays)


def take_steps(kind: Any) -> dict[str, np.ndarray]:
    import test_sharding  # after the processes have met: it makes arrays

    devices = sharding.in_order(jax.devices())
    state, batch, task = test_sharding.make_arguments()
    styles, contents = len(batch.styles), len(batch.query)
    parts = sharding.layout(styles, contents, len(devices))
    step = test_sharding.make_step(parts.axes, rate=0.05)
    wrapped = sharding.parallelize(step, kind=kind, devices=devices, parts=parts)
    mine = [slice(first, first + count) for first, count in wrapped.share(styles, contents)]
    state, task = wrapped.replicate(state), wrapped.replicate(task)
    for step in range(STEPS):
        batch = jax.tree.map(functools.partial(np.roll, shift=1, axis=1), batch)
        part = Batch(batch.styles[mine[0]], batch.support[mine[1]], batch.query[mine[1]])
        placed = wrapped.place_batch(part, stop=step == 7 and processes.is_main())
        state, metrics = jax.block_until_ready(wrapped.step(state, placed, task))
        # in step 7 the devices of process 0 asked to stop, and every process knows
        votes = jax.local_device_count() if processes.several() and step == 7 else 0
        assert metrics.get(sharding.STOP_VOTES, 0) == votes
    return {name: np.asarray(leaf) for name, leaf in leaves_by_path(state.params).items()}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(*sys.argv[1:])
