"""Where things that can be made again are kept: weights that were fetched, compiled programs."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path:
    """`$METASTYLE_CACHE`, else `$XDG_CACHE_HOME/metastyle_jax`, else `~/.cache/metastyle_jax`."""
    if given := os.environ.get("METASTYLE_CACHE"):
        return Path(given).expanduser()
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given).expanduser() / "metastyle_jax"
    return Path.home() / ".cache" / "metastyle_jax"
