"""Compiled programs kept on disk, so that the second start of a command is quicker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import jax

from metastyle_jax.storage import cache_folder


def enable(backend: str | None = None) -> Path | None:
    """Keep compiled programs of accelerators; for the entry points, before anything is compiled.

    The folder is `xla` in the cache folder of this project, see `storage.cache_folder`.
    What JAX was told in the environment wins: JAX_COMPILATION_CACHE_DIR says where, and
    JAX_ENABLE_COMPILATION_CACHE=false says not at all.

    Not on CPU, unless that variable is set: jaxlib 0.9 and 0.10 refuse programs that they kept
    themselves, line after line of warnings on the terminal and nothing saved (jax issue 38445), and
    programs kept by another version or on another machine have crashed (SIGILL, SIGSEGV).

    Args:
      backend: "cpu", "gpu" or "tpu"; None for the one at hand.

    Returns:
      The folder chosen; None if there is nothing to do, or the folder cannot be written to.
    """
    known = cast(Any, jax.config)  # JAX defines its attributes when it is imported
    if known.jax_compilation_cache_dir or not known.jax_enable_compilation_cache:
        return None
    if (backend or jax.default_backend()) == "cpu":
        return None
    folder = cache_folder.default_folder() / "xla"
    try:
        # for its owner alone: whoever can write to it can run code in the next training
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
