"""What files of results say of the machine, and files that grow: JSON, or CSV for curves."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from metastyle_jax.storage.atomic import atomic_path

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


def machine() -> dict[str, Any]:
    """The card (or processor) that JAX computes on, and versions."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "card": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
    }


def origin(*facts: str) -> str:
    """The first line of a table: machine, device, version of JAX, `facts` and the command."""
    parts = [platform.node(), jax.devices()[0].device_kind, f"jax {jax.__version__}", *facts]
    return f"{', '.join(parts)}. Command: {' '.join(sys.argv)}"


def add_result(path: Path | None, name: str, value: Any) -> None:
    """Put the result `name` into the file, which appears whole, with `machine` if it is new.

    Args:
      path: the file; with None nothing is written.
      name: of the result; an earlier one of that name is replaced.
      value: anything that JSON can hold.
    """
    if path is None:
        return
    results = json.loads(path.read_text()) if path.exists() else machine()
    results[name] = value
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")


def add_row(path: Path, values: Mapping[str, float], command: str) -> None:
    """Append a row; a new file begins with a comment (machine, command) and the names."""
    lines = [",".join(f"{value:.6g}" for value in values.values())]
    if not path.exists():
        about = json.dumps({**machine(), "command": command})
        lines = [f"# {about}", ",".join(values), *lines]
    with path.open("a") as file:
        file.write("\n".join(lines) + "\n")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
