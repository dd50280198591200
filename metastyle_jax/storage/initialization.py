"""Initializations: a checkpoint, a parameter file, or one that ships with the package."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metastyle_jax.errors import UserError
from metastyle_jax.storage import style_file
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.storage.home_folder import exists, expanded, is_file, is_folder

EMBEDDED = "embedded"
ADJUSTABLE = "adjustable"  # the embedded one with sliders
SHIPPED = (EMBEDDED, ADJUSTABLE)
_SLIDERS = "sliders.safetensors"  # of the assets: a style file with an adjuster


class Initialization(NamedTuple):
    """Parameters of a network and their origin.

    Attributes:
      params: `{"weights": ..., "style": ...}`, numpy float32.
      settings: of their training, by dotted name (`"objective.normalize"`); empty if
        unknown.
      name: for messages; `load` with this name reads the same parameters again. It is the file, or
        the workdir with the step of the checkpoint ("runs/a@4000").
      digest: of the weights.
      predictor: see `predictor.init`; None if the training had none.
      adjuster: see `adjuster.init`; None if the training had none. Its inputs are the weights of
        the style layers of `settings`.
    """

    params: dict[str, Any]
    settings: Mapping[str, Any]
    name: str
    digest: str
    predictor: dict[str, Any] | None = None
    adjuster: dict[str, Any] | None = None


def load(spec: str = EMBEDDED) -> Initialization:
    """Load an initialization.

    Args:
      spec: "embedded"; "adjustable", the same network with sliders; a workdir or checkpoint folder
        of train.py (its newest checkpoint, or with @STEP behind it that of the step); or a
        `params.safetensors`.

    Raises:
      UserError: it does not exist, is damaged, or is another kind of file; that step has no
        checkpoint.
    """
    if spec in SHIPPED:
        with importlib.resources.as_file(_assets() / "init.safetensors") as path:
            params, metadata = style_file.load_params(path)
        embedded = _make(params, metadata["settings"], EMBEDDED)
        return embedded if spec == EMBEDDED else _with_sliders(embedded)
    workdir, step = _parse(spec)
    path = expanded(workdir)
    if is_folder(path):
        # importing Orbax takes seconds, and only checkpoints need it
        from metastyle_jax.storage import checkpoint_reading

        folder = path if step is None else checkpoint_reading.of_step(path, step)
        params, record = checkpoint_reading.read_params(folder)
        name = spec if path.name == str(record["step"]) else _with_step(workdir, record["step"])
        return _make(params, record["configuration"], name)
    if path.suffix == ".safetensors" or is_file(path):
        params, metadata = style_file.load_params(path)
        return _make(params, metadata["settings"], spec)
    raise UserError(
        f"there is no initialization {spec}: give a workdir of train.py, a params.safetensors, or "
        "leave --init out for the embedded one"
    )


def _with_sliders(embedded: Initialization) -> Initialization:
    with importlib.resources.as_file(_assets() / _SLIDERS) as path:
        style, metadata = style_file.load_style(
            path, weights_digest=embedded.digest, weights_name=embedded.name
        )
        adjuster = style_file.load_adjuster(path)
    return embedded._replace(
        params={**embedded.params, "style": style},
        settings=metadata["settings"],
        name=ADJUSTABLE,
        adjuster=adjuster,
    )


def is_training(spec: str) -> bool:
    """Whether `load` would read a checkpoint: `spec` is a workdir or a folder of checkpoints."""
    workdir, _ = _parse(spec)
    path = expanded(workdir)
    if not is_folder(path):
        return False
    from metastyle_jax.storage import checkpoint_reading  # see `load`

    return checkpoint_reading.is_of_training(path)


def of_weights(spec: str, weights_digest: str) -> str | None:
    """The name under which `load` reads weights with that digest from the workdir of `spec`.

    None if the workdir has no such checkpoint.
    """
    workdir, _ = _parse(spec)
    if not is_folder(expanded(workdir)):
        return None
    from metastyle_jax.storage import checkpoint_reading  # see `load`

    step = checkpoint_reading.step_with(workdir, weights_digest)
    return None if step is None else _with_step(workdir, step)


def _parse(spec: str) -> tuple[str, int | None]:
    """("runs/a", 40) for "runs/a@40"; (spec, None) without a step, or if that path exists."""
    match = re.fullmatch(r"(.+)@(\d+)", spec)
    if match is None or exists(expanded(spec)):
        return spec, None
    return match[1], int(match[2])


def _with_step(workdir: str, step: int) -> str:
    return f"{workdir.rstrip('/') or '/'}@{step}"


def _make(params: dict[str, Any], settings: Mapping[str, Any], name: str) -> Initialization:
    network = {part: params[part] for part in ("weights", "style")}  # not the learned inner rates
    digest = tree_digest(network["weights"])
    others = {part: params.get(part) for part in ("predictor", "adjuster")}
    return Initialization(network, settings, name, digest, **others)


def _assets():
    return importlib.resources.files("metastyle_jax") / "assets"


def sample_images(kind: str) -> list[Path]:
    """The embedded sample pictures; `kind` is "contents" or "styles"."""
    # the package is installed as files (pyproject: no zip), so these are real paths
    return sorted(Path(str(path)) for path in (_assets() / kind).iterdir())
