"""What an optimization of pixels has reached, in a file, so that it survives interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.pixels import image_optimization
from metastyle_jax.storage import safetensors_file

Row = dict[str, Any]

_PAIRS = "pairs"  # the pictures among what is described; all else are flags


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
      level: number of the size to continue with.
      state: the state there; None for none. At the beginning of a size it is that of the size
        before, with its step 0.
      rows: figures of each picture so far; none in a file of an earlier version.
    """

    level: int
    state: image_optimization.State | None
    rows: Sequence[Row]


class SavedState:
    """The file of one run; `described` is what a continued run must share with it.

    Args:
      path: of the file.
      described: flags by name, and `pairs`, the paths of each content and style. A continued run
        may have more `steps` at any of its `sizes`.
    """

    def __init__(self, path: Path, described: Mapping[str, Any]) -> None:
        self.path = path
        self._described = json.dumps(described, sort_keys=True, default=str)

    def save(
        self, level: int, state: image_optimization.State, rows: Sequence[Row], *, finished: bool
    ) -> None:
        """Keep what a run has reached.

        Args:
          level: number of the size.
          state: there.
          rows: figures of each picture.
          finished: this size needs no more steps.

        Raises:
          UserError: the file cannot be written.
        """
        leaves = {f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state[:2]))}
        progress = {"level": level + finished, "step": 0 if finished else state.step}
        metadata = {
            "progress": json.dumps(progress),
            "described": self._described,
            "rows": json.dumps(rows),
        }
        safetensors_file.write(self.path, leaves, metadata)

    def load(self, settings: image_optimization.OptimizationSettings) -> Progress:
        """What `save` kept; the beginning of the first size if there is no file.

        If this run takes more steps, the size that was reached goes on to the new number; those
        before it stay as they are.

        Raises:
          UserError: the file is damaged, or of a run with other flags or pictures; names the flag
            with both values.
        """
        if not self.path.exists():
            return Progress(0, None, [])
        arrays, metadata = safetensors_file.read(self.path)
        level, step = self._progress(metadata)
        images = arrays["000"]
        shapes = jax.eval_shape(lambda: image_optimization.start(images, settings))
        leaves = [jnp.asarray(arrays[name]) for name in sorted(arrays)]
        images, opt_state = jax.tree.unflatten(jax.tree.structure(shapes[:2]), leaves)
        state = image_optimization.State(images, opt_state, step)
        return Progress(level, state, json.loads(metadata.get("rows", "[]")))

    def _progress(self, metadata: Mapping[str, str]) -> tuple[int, int]:
        """(number of the size, steps taken there)."""
        there, now = json.loads(metadata.get("described", "{}")), json.loads(self._described)
        if difference := _difference(there, now):
            raise UserError(
                f"{self.path} is of a run with other flags or pictures: {difference}; continue "
                "with those, or begin anew without --resume"
            )
        progress = json.loads(metadata["progress"])
        level, step = progress["level"], progress["step"]
        before = level - 1
        if level and not step and _steps(now)[before] > _steps(there)[before]:
            return before, _steps(there)[before]  # it had finished, and has not any more
        return level, step


def _difference(there: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first thing that keeps a run from being continued, with both values."""
    for name in sorted(set(there) | set(now)):
        old, new = there.get(name), now.get(name)
        if name == _PAIRS:
            old, new = _tidy(old), _tidy(new)
            if old != new:
                return f"content and style are {_differing(old, new)} there and " + (
                    f"{_differing(new, old)} now"
                )
        elif old != new and not (name == "steps" and _more_steps(there, now)):
            return f"--{name.replace('_', '-')} is {_show(old)} there and {_show(new)} now"
    return None


def _more_steps(there: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether no size has fewer steps than before."""
    if there.get("sizes") != now["sizes"] or not there.get("steps"):
        return False
    return all(old <= new for old, new in zip(_steps(there), _steps(now), strict=True))


def _steps(described: Mapping[str, Any]) -> list[int]:
    """Of each size."""
    steps = described["steps"]
    return [steps[level % len(steps)] for level in range(len(described["sizes"]))]


def _tidy(pairs: Any) -> list[tuple[str, ...]]:
    """The same file may be written as a.jpg and ./a.jpg."""
    return [tuple(os.path.normpath(path) for path in pair) for pair in pairs or ()]


def _differing(pairs: list[tuple[str, ...]], others: list[tuple[str, ...]]) -> str:
    """The first pair that is not among the others."""
    odd = [pair for pair in pairs if pair not in others]
    return " and ".join(odd[0]) if odd else f"{len(pairs)} pairs in another order"


def _show(value: Any) -> str:
    if value is None:
        return "the default"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
