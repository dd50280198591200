"""A training as a run of Weights & Biases, beside the files in its workdir."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.data.images import as_uint8
from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import atomic_path

ID_FILE = "wandb_id.txt"


class WandbRun:
    """What a training writes to, with the methods of `EventFile`.

    wandb sends it in a process of its own, or keeps it below the workdir (`WANDB_MODE=offline`).

    Args:
      project: of Weights & Biases.
      workdir: gets `wandb/`, and the name by which a training that is resumed goes on in the same
        run.
      settings: of the training, by dotted name.

    Raises:
      UserError: wandb is not installed, or its server cannot be used.
    """

    def __init__(self, project: str, workdir: Path, settings: Mapping[str, Any]) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(
                f"config.log.wandb={project} needs wandb: pip install wandb, or leave it out"
            ) from error
        self._wandb: Any = wandb
        try:
            self._run = wandb.init(
                project=project,
                name=workdir.name,
                id=_id(workdir),
                resume="allow",
                dir=str(workdir),
                config=dict(settings),
            )
        except (wandb.errors.Error, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UserError(
                f"config.log.wandb={project} cannot be used ({reason}): log in with wandb login, "
                "set WANDB_MODE=offline, or leave it out"
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """(H, W, 3) in [0, 1]."""
        self._run.log({name: self._wandb.Image(as_uint8(image))}, step=step)

    def text(self, step: int, name: str, text: str) -> None:
        """A sentence, as an alert."""
        self._run.alert(title=f"{name}: step {step}", text=text)

    def flush(self) -> None:
        """Nothing to do: wandb writes by itself."""

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()


def _id(workdir: Path) -> str:
    path = workdir / ID_FILE
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
