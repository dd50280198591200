"""Versions of the software that writes files."""

from __future__ import annotations

import flax
import jax

import metastyle_jax


def software_versions() -> dict[str, str]:
    """Versions to record in files: `{"jax": ..., "flax": ..., "metastyle_jax": ...}`."""
    return {
        "jax": jax.__version__,
        "flax": flax.__version__,
        "metastyle_jax": metastyle_jax.__version__,
    }
