"""metastyle inspect FILE_OR_WORKDIR..."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.cli import style_arguments
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.data import images
from metastyle_jax.errors import UserError, check_failures
from metastyle_jax.storage import home_folder, initialization, style_file

# of the settings, what somebody who was given the file would ask first
_SHOWN = {
    "style image": "style_file",
    "feature network": "features.network",
    "steps": "adaptation.steps",
    "blend": "blend",
}


def add_parser(commands: Any) -> None:
    """Add `inspect` to the commands."""
    parser = add_command(commands, "inspect", run)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="pack:NAME, a safetensors file, a picture, or a workdir of metastyle train",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object for each file, with all settings"
    )


def run(args: argparse.Namespace) -> None:
    """Read every file whole, check its digest, and say what it is.

    Raises:
      PartialFailure: some files are damaged or of another kind; the others were shown.
      UserError: all of them are.
    """
    failures = []
    for argument in args.files:
        try:
            described = describe(argument)
            print(json.dumps(described) if args.json else _text(described))
            _check_checkpoints(described)
        except UserError as error:
            failures.append(str(error))
    check_failures(failures, len(args.files) - len(failures), "read whole", "files")


def describe(argument: str) -> dict[str, Any]:
    """What a file is: "file", "kind", "bytes" and what its kind has.

    Of a workdir it says which "checkpoints" are whole, and the damage of the others.

    Raises:
      UserError: it is missing, damaged, or of another kind.
    """
    path = style_arguments.parse(argument).file
    about: dict[str, Any] = {"file": argument}
    if home_folder.is_folder(path):
        return {**about, "kind": "training", "checkpoints": _checkpoints(path)}
    if path.suffix != ".safetensors":
        image = images.read_image(path)
        height, width = image.shape[:2]
        return {**about, "kind": "picture", "bytes": path.stat().st_size, "size": [width, height]}
    kind = style_file.format_of(path)
    if kind == style_file.STYLE_FORMAT:
        style, metadata = style_file.load_style(path)
        about["kind"] = "style"
        about["numbers"] = _count(style)
        about["of weights"] = metadata["weights_digest"]
    else:
        params, metadata = style_file.load_params(path)
        about["kind"] = "parameters"
        about["numbers"] = {part: _count(tree) for part, tree in params.items()}
        about["weights"] = metadata["weights_digest"]
    about |= {"bytes": path.stat().st_size, "command": metadata["command"]}
    return {**about, "settings": metadata["settings"], "versions": metadata["versions"]}


def _checkpoints(path: Path) -> list[dict[str, str]]:
    if not initialization.is_training(str(path)):
        raise UserError(
            f"{path}: this is a folder without checkpoints; give a file, or the workdir of a "
            "training"
        )
    # importing Orbax takes seconds, and only checkpoints need it
    from metastyle_jax.storage import checkpoint_reading

    damages = checkpoint_reading.damages(path)
    return [{"checkpoint": str(folder), "damage": damage} for folder, damage in damages.items()]


def _check_checkpoints(described: dict[str, Any]) -> None:
    checkpoints = described.get("checkpoints", [])
    damaged = sum(bool(each["damage"]) for each in checkpoints)
    if damaged:
        whole = len(checkpoints) - damaged
        what_now = "--resume and --init take the newest whole one" if whole else "use another"
        raise UserError(
            f"{described['file']}: {damaged} of {len(checkpoints)} checkpoints damaged; {what_now}"
        )


def _count(tree: Any) -> int:
    if isinstance(tree, dict):
        return sum(map(_count, tree.values()))
    return int(np.size(tree))


def _text(described: dict[str, Any]) -> str:
    if "checkpoints" in described:
        return "\n".join(
            f"{each['checkpoint']}: "
            + (f"damaged: {each['damage']}" if each["damage"] else "whole, a checkpoint")
            for each in described["checkpoints"]
        )
    described = dict(described)
    settings, versions = described.pop("settings", {}), described.pop("versions", {})
    lines = [f"{described.pop('file')}: whole, a {described.pop('kind')} file"]
    lines[0] = (
        lines[0]
        .replace("a parameters file", "a file of parameters")
        .replace("a picture file", "a picture")
    )
    shown = {**described, **{name: settings.get(key) for name, key in _SHOWN.items()}}
    shown["versions"] = versions or None
    lines += [f"  {name}: {_plain(value)}" for name, value in shown.items() if value]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)
