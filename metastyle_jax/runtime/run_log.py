"""The log of a training run: terminal, `metrics.jsonl`, TensorBoard and picture sheets."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from metastyle_jax.data.images import write_png
from metastyle_jax.errors import UserError
from metastyle_jax.reporting.event_file import EventFile
from metastyle_jax.storage.atomic import atomic_path, write_error

_LOG = logging.getLogger(__name__)


class Board(Protocol):
    """What shows a training, see `EventFile`."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, image: np.ndarray) -> None: ...

    def text(self, step: int, name: str, text: str) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class RunLog:
    """A context manager that writes the log of a run to its workdir.

    Args:
      workdir: gets `metrics.jsonl`, `tensorboard/` and `sheets/`.
      start_step: first step of this session minus 1. Records of later steps are removed: an earlier
        session wrote them after its last checkpoint, and they will be computed again.
      total_steps: number of the last step, for the ETA.
      images_per_step: images that a step processes, for the rate.
      describe: (metrics) -> text for the terminal.
      boards: that get all numbers and sheets too, beside TensorBoard's files; closed at the end.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        total_steps: int,
        images_per_step: int,
        describe: Callable[[Mapping[str, float]], str],
        boards: Sequence[Board] = (),
    ) -> None:
        self._path = workdir / "metrics.jsonl"
        self._sheets = workdir / "sheets"
        self._total = total_steps
        self._images = images_per_step
        self._describe = describe
        _truncate(self._path, start_step)
        self._file = self._path.open("a", encoding="utf-8")
        events = EventFile(
            workdir / "tensorboard", purge_step=start_step + 1 if start_step else None
        )
        self._boards: Sequence[Board] = (events, *boards)
        self._mark: tuple[int, float] | None = None
        self._warned: dict[
            int, tuple[Mapping[str, float], list[str]]
        ] = {}  # warnings without a record yet

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None or issubclass(kind, UserError | KeyboardInterrupt):
                self._record_warned()
            self._file.close()
        except (OSError, UserError):
            if kind is None:
                raise  # otherwise the first error is being raised already
        finally:
            for board in self._boards:
                board.close()

    def start_clock(self, step: int) -> None:
        """Start measuring the rate: after compilation, and after work that is not training."""
        self._mark = (step, time.perf_counter())

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record the metrics of `step`, with the rate since the last call."""
        rate = self._rate(step)
        record: dict[str, Any] = {"step": step, **values}
        if rate is not None:
            record |= {"steps_per_second": rate, "images_per_second": rate * self._images}
        _, warnings = self._warned.pop(step, (None, None))
        self._record_warned()
        self._write(record, warnings)
        del record["step"]
        for board in self._boards:
            board.scalars(step, record)
            board.flush()
        _LOG.info(self._line(step, values, rate))
        self.start_clock(step)

    def validation(self, step: int, values: Mapping[str, float], text: str) -> None:
        """Record what was measured beside the training after `step`; `text` goes to the terminal.

        It is a record of its own in `metrics.jsonl`.
        """
        self._record_warned()
        self._write({"step": step, **values}, None)
        for board in self._boards:
            board.scalars(step, values)
        _LOG.info(f"step {step}/{self._total} {text}")

    def warn(self, step: int, values: Mapping[str, float], text: str) -> None:
        """Print a warning on stderr, and add it as `warnings` to the record of `step`.

        If the step has no record, one is written with its metrics `values`.
        """
        _LOG.warning(f"warning: step {step}: {text}")
        for board in self._boards:
            board.text(step, "warnings", text)
        self._warned.setdefault(step, (dict(values), []))[1].append(text)

    def sheet(self, step: int, image: np.ndarray) -> None:
        """Record a picture sheet, (H, W, 3) in [0, 1]."""
        write_png(self._sheets / f"step_{step:07d}.png", image)
        for board in self._boards:
            board.picture(step, "sheet", image)

    def _record_warned(self) -> None:
        for step, (values, warnings) in self._warned.items():
            self._write({"step": step, **values}, warnings)
        self._warned.clear()

    def _write(self, record: dict[str, Any], warnings: list[str] | None) -> None:
        if warnings:
            record = {**record, "warnings": warnings}
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(self._path, error) from error

    def _rate(self, step: int) -> float | None:
        if self._mark is None or step == self._mark[0]:
            return None
        return (step - self._mark[0]) / (time.perf_counter() - self._mark[1])

    def _line(self, step: int, values: Mapping[str, float], rate: float | None) -> str:
        line = f"step {step}/{self._total} {self._describe(values)}"
        if rate is not None:
            remaining = (self._total - step) / rate
            line += (
                f" | {rate:.3g} steps/s {rate * self._images:.3g} images/s ETA {_hms(remaining)}"
            )
        return line


def _truncate(path: Path, last_step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except ValueError:
            continue  # a partial line of a session that was killed
    with atomic_path(path) as temporary:
        Path(temporary).write_text("".join(kept), encoding="utf-8")


def _hms(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
