"""TensorBoard event files, written in the calling thread.

The usual writer of tensorboardX has a thread. On a full disk it ends with a traceback, and the
caller then waits forever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from metastyle_jax.storage.atomic import write_error

_MESSAGES = cast(Any, event_pb2)  # protobuf makes its classes when it is imported


class EventFile:
    """An event file in a folder, which is created if needed.

    Args:
      folder: that TensorBoard reads.
      purge_step: TensorBoard discards events of earlier files from this step on; None for none.

    Raises:
      UserError: here and in every method except `close`: the file cannot be written.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = event_file_writer.EventsWriter(str(folder / "events"))
        except OSError as error:
            raise write_error(folder, error) from error
        if purge_step is not None:
            start = _MESSAGES.SessionLog(status=_MESSAGES.SessionLog.START)
            self._write(purge_step, session_log=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name."""
        for name, value in values.items():
            self._write(step, summary=summary.scalar(name, value))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """(H, W, 3) in [0, 1]."""
        self._write(step, summary=summary.image(name, image, dataformats="HWC"))

    def text(self, step: int, name: str, text: str) -> None:
        """A paragraph."""
        self._write(step, summary=summary.text(name, text))

    def flush(self) -> None:
        """Flush to disk."""
        try:
            self._writer.flush()
        except OSError as error:
            raise write_error(self._folder, error) from error

    def close(self) -> None:
        """Flush and close; errors were raised by earlier calls."""
        with contextlib.suppress(OSError):
            self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        try:
            self._writer.write_event(_MESSAGES.Event(wall_time=time.time(), step=step, **content))
        except OSError as error:
            raise write_error(self._folder, error) from error
