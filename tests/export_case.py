"""A tiny stylizer for the tests of exports."""

from __future__ import annotations

import jax
import numpy as np

import tiny
from metastyle_jax.stylization.stylizer import Record, Stylizer


def stylizer(
    seed: int = 0, *, blur: bool = True, input_noise: float = 0.0, **settings: object
) -> Stylizer:
    """Of width 4 with two residual blocks and float32 entries, with a record that names a style."""
    params = tiny.parameters(seed, width=4, residual_blocks=2, blur=blur)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)
    record = Record("folder/tiny.safetensors", settings)
    return Stylizer(params["weights"], params["style"], input_noise, record)
