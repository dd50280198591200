"""Measurements in a JSON file, written after each one, so that a study can be continued."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import write_text

_LOG = logging.getLogger(__name__)

Row = dict[str, Any]


class Records:
    """Named measurements in a file; a recorded measurement is not repeated.

    Args:
      path: of the JSON file; created with the first entry.
      settings: that the measurements depend on. A file with other settings is refused.
      total: number of measurements of the run, for the ETA.

    Raises:
      UserError: the file holds no measurements, or has other settings.
    """

    def __init__(self, path: Path, settings: Row, *, total: int) -> None:
        self._path = path
        self._total = total
        self._content = {"settings": json.loads(json.dumps(settings)), "entries": {}}
        if path.exists():
            self._content = self._read(path)
        self._done, self._new = 0, 0  # measurements requested; measurements taken
        self._start = time.perf_counter()

    def _read(self, path: Path) -> Row:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            recorded = content["settings"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{path} holds no measurements: use another --out") from error
        wanted = self._content["settings"]
        for name in {**recorded, **wanted}:
            if recorded.get(name) != wanted.get(name):
                raise UserError(
                    f"{path} holds measurements with {name}={recorded.get(name)!r}, not "
                    f"{wanted.get(name)!r}: use another --out, or the same settings"
                )
        return content

    def measure(self, name: str, function: Callable[[], list[Row]]) -> list[Row]:
        """The rows of `name`: recorded ones, or the result of `function`."""
        entries = self._content["entries"]
        self._done += 1
        if name not in entries:
            entries[name] = function()
            write_text(self._path, json.dumps(self._content, indent=1))
            self._new += 1
            _LOG.info(f"[{self._done}/{self._total}] {name} | ETA {self._remaining()}")
        return entries[name]

    def _remaining(self) -> str:
        each = (time.perf_counter() - self._start) / self._new
        return f"{each * max(0, self._total - self._done) / 60:.0f} min"


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line per row; the columns are those of the first row."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, file.getvalue())


def markdown_table(rows: Sequence[Row], columns: dict[str, str]) -> str:
    """A table of `columns`, {key: title}; numbers with four digits."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (_cell(row.get(key, "")) for key in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def labels(specs: Sequence[str]) -> list[str]:
    """A short name for each "NAME:FILE": NAME, with the file's own name where several share one.

    Raises:
      UserError: two would still have the same name.
    """
    parts = [spec.partition(":") for spec in specs]
    names = [name for name, _, _ in parts]
    short = [
        f"{name}:{Path(file).stem}" if file and names.count(name) > 1 else name
        for name, _, file in parts
    ]
    for name in short:
        if short.count(name) > 1:
            raise UserError(f"{name} is named twice: give it once, or rename its file")
    return short
