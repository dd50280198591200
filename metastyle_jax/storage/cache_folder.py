"""The cache folder, for downloaded weights and compiled programs."""

from __future__ import annotations

import os
from pathlib import Path

from metastyle_jax.storage.home_folder import expanded


def default_folder() -> Path:
    """`$METASTYLE_CACHE`, else `$XDG_CACHE_HOME/metastyle_jax`, else `~/.cache/metastyle_jax`."""
    if folder := os.environ.get("METASTYLE_CACHE"):
        return expanded(folder)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return expanded(folder) / "metastyle_jax"
    return Path.home() / ".cache" / "metastyle_jax"
