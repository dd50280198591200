"""Where a network starts from: a checkpoint, a parameter file, or the embedded initialisation."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metastyle_jax.digest import tree_digest
from metastyle_jax.errors import UserError
from metastyle_jax.export import style_file

EMBEDDED = "embedded"


class Initialization(NamedTuple):
    """Parameters and what is known of them.

    Attributes:
      params: `{"weights": ..., "style": ...}`, numpy float32.
      settings: of the training that made them, by dotted name (`"objective.normalize"`); empty if
        unknown.
      name: what to call them in a message: the file or folder.
      digest: of the weights.
      predictor: see `predictor.init`; None where the training had none.
    """

    params: dict[str, Any]
    settings: Mapping[str, Any]
    name: str
    digest: str
    predictor: dict[str, Any] | None = None


def load(spec: str = EMBEDDED) -> Initialization:
    """Load an initialisation.

    Args:
      spec: "embedded", a workdir or checkpoint folder of train.py, or a `params.safetensors`.

    Raises:
      UserError: it does not exist, is damaged, or is something else.
    """
    if spec == EMBEDDED:
        with importlib.resources.as_file(_assets() / "init.safetensors") as path:
            params, metadata = style_file.load_params(path)
        return _make(params, metadata["settings"], EMBEDDED)
    path = Path(spec).expanduser()
    if path.is_dir():
        # Orbax takes seconds to import, and a style that was adapted needs none of it
        from metastyle_jax import checkpoint

        params, record = checkpoint.read_params(path)
        return _make(params, record["configuration"], spec)
    if path.suffix == ".safetensors" or path.is_file():
        params, metadata = style_file.load_params(path)
        return _make(params, metadata["settings"], spec)
    raise UserError(
        f"there is no initialisation {spec}: give a workdir of train.py, a params.safetensors, or "
        "leave --init out for the embedded one"
    )


def _make(params: dict[str, Any], settings: Mapping[str, Any], name: str) -> Initialization:
    drawing = {part: params[part] for part in ("weights", "style")}  # not the learned inner rates
    digest = tree_digest(drawing["weights"])
    return Initialization(drawing, settings, name, digest, params.get("predictor"))


def _assets():
    return importlib.resources.files("metastyle_jax") / "assets"


def sample_images(kind: str) -> list[Path]:
    """The embedded sample pictures; `kind` is "contents" or "styles"."""
    # the package is installed as files (pyproject: no zip), so these are real paths
    return sorted(Path(str(path)) for path in (_assets() / kind).iterdir())
