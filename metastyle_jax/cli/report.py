"""metastyle report WORKDIR"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from metastyle_jax.cli.parsers import add_command
from metastyle_jax.errors import UserError
from metastyle_jax.reporting import training_page
from metastyle_jax.settings import schema
from metastyle_jax.storage import home_folder
from metastyle_jax.storage.atomic import write_error, write_text


def add_parser(commands: Any) -> None:
    """Add `report` to the commands."""
    parser = add_command(commands, "report", run)
    parser.add_argument(
        "workdir",
        type=home_folder.expanded,
        metavar="WORKDIR",
        help="of a training, also a running one",
    )
    parser.add_argument(
        "--out", type=home_folder.expanded, help="the page (default: WORKDIR/report.html)"
    )


def run(args: argparse.Namespace) -> None:
    """Write the page.

    Raises:
      UserError: the folder has no training, or the page cannot be written.
    """
    out = args.out or args.workdir / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):  # and so none of the files of a training
        raise UserError(f"--out={out} is not a page: give a name that ends in .html")
    page = training_page.page(read(args.workdir))
    try:
        write_text(out, page)
    except OSError as error:
        raise write_error(out, error) from error
    print(f"{out}: {len(page) / 1e6:.1f} MB")


def read(workdir: Path) -> training_page.Run:
    """What a workdir says of its run.

    Raises:
      UserError: it has no metrics or no settings.
    """
    records = []
    for line in _text(workdir / "metrics.jsonl").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed, or is writing it
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    if not records:
        raise UserError(f"{workdir / 'metrics.jsonl'} has no record yet: wait for config.log.every")
    try:
        settings = json.loads(_text(workdir / "config.json"))
    except ValueError as error:
        raise UserError(f"{workdir / 'config.json'} is damaged ({error})") from error
    return training_page.Run(
        name=workdir.resolve().name,
        records=records,
        settings=settings,
        defaults=schema.flatten(schema.Settings()),
        sheets={
            int(match[1]): path
            for path in sorted((workdir / "sheets").glob("step_*.png"))
            if (match := re.fullmatch(r"step_(\d+)\.png", path.name))
        },
        environment=_environment(workdir),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): name the --workdir of a training"
        ) from error


def _environment(workdir: Path) -> dict[str, str]:
    """Versions that wrote the newest checkpoint; nothing if there is none."""
    records = sorted(
        (workdir / "checkpoints").glob("*/record.json"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else -1,
    )
    for path in reversed(records):
        try:
            return {**json.loads(path.read_bytes())["versions"], "checkpoint": path.parent.name}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged: an older one will do
    return {}
