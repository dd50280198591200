"""Programs of this project in processes of their own, as a user runs them."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def quick_xla_flags() -> str:
    """XLA flags that halve the compile time on CPUs; most of the time of a test is compile time.

    Fused operations become LLVM code at once instead of through MLIR, and a program is translated
    in one part instead of in up to 32, which pays with many cores only. The tests check the same
    programs; only the last digits of their results can differ.

    XLA ends the process at a flag that it does not know. Versions that were not tried get none:
    with these the tests take longer.
    """
    major, minor, *_ = importlib.metadata.version("jaxlib").split(".")
    if not (0, 8) <= (int(major), int(minor)) <= (0, 10):
        return ""
    return "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


# what `conftest` does in its process, for others
QUICK_COMPILE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true", "XLA_FLAGS": quick_xla_flags()}


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
