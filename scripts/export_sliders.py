"""Export the sliders of a training that left the embedded network as it is.

python scripts/export_sliders.py TRAINED FILE

TRAINED is a workdir of train.py, or params.safetensors as benchmarks/gpu_train.py writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export_params import exported_settings

from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.storage import checkpoint_reading, initialization, style_file
from metastyle_jax.storage.digest import tree_digest


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise UserError("give a training and a file: export_sliders.py TRAINED FILE")
    trained, target = map(Path, arguments)
    params, settings = read(trained)
    digest = initialization.load(initialization.EMBEDDED).digest
    if "adjuster" not in params or tree_digest(params["weights"]) != digest:
        raise UserError(
            f"{trained} has no sliders for the embedded network: train with "
            "configs/meta_adjustable.py"
        )
    style_file.save_style(
        target,
        params["style"],
        weights_digest=digest,
        settings=settings,
        command="scripts/export_sliders.py",
        adjuster=params["adjuster"],
    )
    print(f"{target}: step {settings['step']}, {target.stat().st_size / 1e3:.0f} kB")


def read(trained: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Parameters, and what is recorded of their training."""
    if trained.is_file():
        params, metadata = style_file.load_params(trained)
        return params, metadata["settings"]
    params, record = checkpoint_reading.read_params(trained)
    return params, exported_settings(record["configuration"], record["step"])


if __name__ == "__main__":
    with exit_cleanly():
        main(sys.argv[1:])
