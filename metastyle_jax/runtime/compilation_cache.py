"""A cache of compiled programs on disk, so that commands start faster the second time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import jax

from metastyle_jax.storage import cache_folder


def enable(backend: str | None = None) -> Path | None:
    """Turn on the cache for accelerators; entry points call it before anything is compiled.

    The folder is `xla` in the cache folder of this project, see `storage.cache_folder`.
    Environment variables of JAX have priority: JAX_COMPILATION_CACHE_DIR sets the folder, and
    JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.

    The cache is off on CPU unless JAX_COMPILATION_CACHE_DIR is set: jaxlib 0.9 and 0.10 reject
    programs from their cache with many warnings (jax issue 38445), and cached programs of another
    version or machine have crashed (SIGILL, SIGSEGV).

    Args:
      backend: "cpu", "gpu" or "tpu"; None for the default backend.

    Returns:
      The folder; None if the cache stays as it was, or the folder is not writable.
    """
    known = cast(Any, jax.config)  # JAX defines its attributes when it is imported
    if known.jax_compilation_cache_dir or not known.jax_enable_compilation_cache:
        return None
    if (backend or jax.default_backend()) == "cpu":
        return None
    folder = cache_folder.default_folder() / "xla"
    try:
        # only the owner may write: a cached program is code that the next run executes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def enabled() -> bool:
    """Whether compiled programs are kept on disk."""
    known = cast(Any, jax.config)
    return bool(known.jax_compilation_cache_dir and known.jax_enable_compilation_cache)
