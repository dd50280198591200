"""One of several processes: takes outer steps in float64, process 0 keeps what they reached.

python group_worker.py OUT KIND,KIND [COORDINATOR PROCESSES PROCESS_ID]
"""

from __future__ import annotations

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
    wrapped = sharding.parallelize(
        test_sharding.make_step(sharding.AXIS, rate=0.05), kind=kind, devices=devices
    )
    first, count = wrapped.share(len(batch.styles))
    state, task = wrapped.replicate(state), wrapped.replicate(task)
    for step in range(STEPS):
        turned = [np.roll(part, step, axis=1) for part in (batch.styles, batch.support)]
        mine = Batch(styles=turned[0][first : first + count], support=turned[1], query=batch.query)
        placed = wrapped.place_batch(mine, stop=step == 7 and processes.is_main())
        state, metrics = jax.block_until_ready(wrapped.step(state, placed, task))
        # in step 7 the devices of process 0 asked to stop, and every process knows
        votes = jax.local_device_count() if processes.several() and step == 7 else 0
        assert metrics.get(sharding.STOP_VOTES, 0) == votes
    return {name: np.asarray(leaf) for name, leaf in leaves_by_path(state.params).items()}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(*sys.argv[1:])
