"""Programs of this project in processes of their own, as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# what the fixture `quick_compile` does, for processes
QUICK_COMPILE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}


def run(arguments: list[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run Python with `arguments` in the folder `cwd`, with environment `variables`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", **variables}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
