"""Export the sliders of a training that left the embedded network as it is.

python scripts/export_sliders.py WORKDIR FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

from export_params import exported_settings

from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.storage import checkpoint_reading, initialization, style_file
from metastyle_jax.storage.digest import tree_digest


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise UserError("give a workdir and a file: export_sliders.py WORKDIR FILE")
    workdir, target = map(Path, arguments)
    params, record = checkpoint_reading.read_params(workdir)
    digest = initialization.load(initialization.EMBEDDED).digest
    if "adjuster" not in params or tree_digest(params["weights"]) != digest:
        raise UserError(
            f"{workdir} has no sliders for the embedded network: train with "
            "configs/meta_adjustable.py"
        )
    style_file.save_style(
        target,
        params["style"],
        weights_digest=digest,
        settings=exported_settings(record["configuration"], record["step"]),
        command="scripts/export_sliders.py",
        adjuster=params["adjuster"],
    )
    print(f"{target}: step {record['step']}, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    with exit_cleanly():
        main(sys.argv[1:])
