"""What an optimisation of pixels has reached, in a file, so that it survives interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax import image_optimization, safetensors_file
from metastyle_jax.errors import UserError


class SavedState:
    """The file of one run; `described` is what a continued run must share with it."""

    def __init__(self, path: Path, described: Mapping[str, Any]) -> None:
        self.path = path
        self._described = json.dumps(described, sort_keys=True, default=str)

    def save(self, level: int, state: image_optimization.State, *, finished: bool) -> None:
        """Keep `state` of size number `level`; `finished`: this size needs no more steps.

        Raises:
          UserError: the file cannot be written.
        """
        leaves = {f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state[:2]))}
        progress = {"level": level + finished, "step": 0 if finished else state.step}
        metadata = {"progress": json.dumps(progress), "described": self._described}
        safetensors_file.write(self.path, leaves, metadata)

    def load(
        self, settings: image_optimization.OptimizationSettings
    ) -> tuple[int, image_optimization.State | None]:
        """(number of the size to continue with, the state there); (0, None) if there is no file.

        At the beginning of a size the state is that of the size before, with its step 0.

        Raises:
          UserError: the file is damaged, or of a run with other flags or pictures.
        """
        if not self.path.exists():
            return 0, None
        arrays, metadata = safetensors_file.read(self.path)
        if metadata.get("described") != self._described:
            raise UserError(
                f"{self.path} is of a run with other flags or pictures: continue with those, or "
                "begin anew without --resume"
            )
        progress = json.loads(metadata["progress"])
        images = arrays["000"]
        shapes = jax.eval_shape(lambda: image_optimization.start(images, settings))
        leaves = [jnp.asarray(arrays[name]) for name in sorted(arrays)]
        restored = jax.tree.unflatten(jax.tree.structure(shapes[:2]), leaves)
        return progress["level"], image_optimization.State(*restored, progress["step"])
