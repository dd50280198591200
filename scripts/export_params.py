"""Export the parameters of a training run as one float16 safetensors file.

python scripts/export_params.py WORKDIR FILE
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.settings import provenance
from metastyle_jax.storage import checkpoint_reading, style_file


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise UserError("give a workdir and a file: export_params.py WORKDIR FILE")
    workdir, target = map(Path, arguments)
    params, record = checkpoint_reading.read_params(workdir)
    # learned inner rates belong to the training
    params = {part: tree for part, tree in params.items() if part != "inner_rates"}
    settings = exported_settings(record["configuration"], record["step"])
    command = "scripts/export_params.py"
    style_file.save_params(target, params, settings=settings, command=command, dtype="float16")
    print(f"{target}: step {record['step']}, {target.stat().st_size / 1e6:.2f} MB")


def exported_settings(configuration: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What the file records of its training: settings by dotted name, without files and folders.

    Args:
      configuration: all settings of the training by dotted name.
      step: outer steps of the training.
    """
    return {**provenance.without_places(configuration), "step": step}


if __name__ == "__main__":
    with exit_cleanly():
        main(sys.argv[1:])
