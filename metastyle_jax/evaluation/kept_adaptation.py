"""A long adaptation in a file, so that an evaluation that was stopped goes on within it."""

from __future__ import annotations

import json
import logging
import time
import zipfile
from pathlib import Path

import jax
import numpy as np

from metastyle_jax.adaptation.style_adaptation import Place
from metastyle_jax.reporting.records import Row
from metastyle_jax.storage.atomic import atomic_path

SECONDS_BETWEEN = 120.0  # of writing, and of saying how far it is

_LOG = logging.getLogger(__name__)


class KeptAdaptation:
    """The place of an adaptation, and what was measured on the way there.

    Args:
      path: of the file; it is removed by `finish`.
      name: of the adaptation, for the log.
      steps: of the whole adaptation, for the ETA.
      made_of: all that decides what it reaches; a file that was made of something else counts as
        none.
    """

    def __init__(self, path: Path, name: str, steps: int, made_of: str) -> None:
        self._path, self._name, self._steps, self._made_of = path, name, steps, made_of
        self._written = time.perf_counter()

    def read(self, beginning: Place) -> tuple[Place, list[Row]]:
        """The place and the rows of an earlier run; `beginning` and none if there are none.

        Args:
          beginning: the place before the first step.
        """
        if not self._path.exists():
            return beginning, []
        leaves, structure = jax.tree.flatten(beginning[1:4])
        try:
            with np.load(self._path) as file:
                about = json.loads(str(file["about"]))
                found = [file[str(number)] for number in range(len(leaves))]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            _LOG.warning(f"{self._path} is damaged: {self._name} begins anew")
            return beginning, []
        if about["made of"] != self._made_of:
            return beginning, []
        fast, opt_state, reached = jax.tree.unflatten(structure, found)
        place = Place(about["step"], fast, opt_state, reached, about["seconds"])
        _LOG.info(f"{self._name} goes on after step {place.step}")
        return place, about["rows"]

    def keep(self, place: Place, rows: list[Row]) -> None:
        """Write the place, unless that was done a short while ago; say how far it is."""
        if time.perf_counter() - self._written < SECONDS_BETWEEN:
            return
        arrays = jax.tree.leaves(jax.device_get(place[1:4]))
        about = json.dumps(
            {
                "made of": self._made_of,
                "step": place.step,
                "seconds": place.seconds,
                "rows": rows,
            }
        )
        named = {str(number): array for number, array in enumerate(arrays)}
        with atomic_path(self._path) as temporary, Path(temporary).open("wb") as file:
            np.savez(file, about=about, **named)
        each = place.seconds / place.step
        left = each * (self._steps - place.step) / 60
        _LOG.info(
            f"{self._name}: step {place.step} of {self._steps}, {each:.2f} s each | ETA "
            f"{left:.0f} min"
        )
        self._written = time.perf_counter()

    def finish(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
