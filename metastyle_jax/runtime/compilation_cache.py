"""A cache of compiled programs on disk, so that commands start faster the second time."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path
from typing import Any, cast

import jax
import jaxlib.version

from metastyle_jax.storage import cache_folder

SECONDS_ON_CPU = 0.2  # programs that compile faster are not kept
_QUIET_ON_CPU = (0, 10, 2)  # version of jaxlib


def enable(backend: str | None = None) -> Path | None:
    """Turn on the cache; entry points call it before anything is compiled.

    The folder is `xla` in the cache folder of this project, see `storage.cache_folder`.
    Environment variables of JAX have priority: JAX_COMPILATION_CACHE_DIR sets the folder, and
    JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.

    Programs for CPUs are kept apart for each kind of processor and version of jaxlib: those of
    another one have crashed (SIGILL, SIGSEGV). From jaxlib 0.10.2 on; 0.9.0 to 0.10.0 load their
    own programs with pages of warnings (jax issue 38445).

    Args:
      backend: "cpu", "gpu" or "tpu"; None for the default backend.

    Returns:
      The folder; None if the cache stays as it was, or the folder is not writable.
    """
    if _known().jax_compilation_cache_dir or obstacle(backend):
        return None
    if _on_cpu(backend):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS_ON_CPU)
    kept = _default_folder(backend)
    jax.config.update("jax_compilation_cache_dir", str(kept))
    return kept


def obstacle(backend: str | None = None) -> str:
    """Why `enable` keeps nothing in its own folder, which it makes; "" if it does."""
    if not _known().jax_enable_compilation_cache:
        return "JAX_ENABLE_COMPILATION_CACHE turns that off"
    if _on_cpu(backend) and not enabled_on_cpu():
        quiet = ".".join(map(str, _QUIET_ON_CPU))
        return f"jaxlib {jaxlib.version.__version__} cannot on CPUs, {quiet} and later can"
    kept = _default_folder(backend)
    try:
        # only the owner may write: a cached program is code that the next run executes
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(kept, os.W_OK)
    except (OSError, RuntimeError):
        writable = False
    return "" if writable else f"{kept} cannot be written, METASTYLE_CACHE names another folder"


def _known() -> Any:
    return cast(Any, jax.config)  # JAX defines its attributes when it is imported


def _on_cpu(backend: str | None) -> bool:
    return (backend or jax.default_backend()) == "cpu"


def _default_folder(backend: str | None) -> Path:
    kept = cache_folder.default_folder() / "xla"
    return kept / processor() if _on_cpu(backend) else kept


def enabled_on_cpu() -> bool:
    """Whether this jaxlib loads programs for CPUs without warnings."""
    version = tuple(int(part) for part in re.findall(r"\d+", jaxlib.version.__version__)[:3])
    return version >= _QUIET_ON_CPU


def processor() -> str:
    """A name for this kind of processor and this jaxlib: other ones cannot run its programs."""
    facts = [jaxlib.version.__version__, platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: this machine alone
        facts.append(platform.node())
    else:
        kinds = ("model name", "flags", "Features", "CPU part")
        facts += sorted({line for line in lines if line.startswith(kinds)})
    return "cpu-" + hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def enabled() -> bool:
    """Whether compiled programs are kept on disk."""
    return folder() is not None


def folder() -> Path | None:
    """Where compiled programs are kept; None if they are not."""
    known = _known()
    if not (known.jax_compilation_cache_dir and known.jax_enable_compilation_cache):
        return None
    return Path(known.jax_compilation_cache_dir)
