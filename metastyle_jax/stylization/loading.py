"""Stylizers from a name: a pack, a style file, a parameter file, or the workdir of a training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from metastyle_jax.errors import UserError
from metastyle_jax.settings import provenance
from metastyle_jax.storage import home_folder, initialization, style_file, style_packs
from metastyle_jax.stylization import sliders, stylizer
from metastyle_jax.stylization.stylizer import Record, Stylizer


def load(spec: str | os.PathLike[str], *, init: str | None = None) -> Stylizer:
    """Load a stylizer.

    Args:
      spec: "pack:NAME" (see `metastyle packs`); "embedded" or "adjustable"; a style file or a
        parameter file; or a workdir of `metastyle train`: its newest checkpoint, or that of a step
        with @STEP.
      init: the weights that a style belongs to, a spec of `initialization.load`; by default those
        that it was adapted from.

    Returns:
      The stylizer, with the input noise that it was trained or adapted with, on JAX's default
      device.

    Raises:
      UserError: a file is missing, damaged, or of another kind; the style was adapted with other
        weights; or `init` is given for what has weights of its own.
    """
    name = os.fspath(spec)
    loaded = _load(name, init)
    params = jax.tree.map(jnp.asarray, loaded.params)
    return dataclasses.replace(loaded, weights=params["weights"], style=params["style"])


def initialization_of(spec: str | os.PathLike[str]) -> initialization.Initialization | None:
    """The initialization that `spec` of `load` names; None if it names a pack or a style file.

    Raises:
      UserError: a file is missing, damaged, or of another kind.
    """
    name = os.fspath(spec)
    return initialization.load(name) if _has_weights(name) else None


def inits_of(specs: Sequence[str | os.PathLike[str]], init: str | None) -> list[str | None]:
    """The `init` of `load` for each of several styles: None for those with weights of their own.

    Raises:
      UserError: all of them have weights of their own, or a file is missing or damaged.
    """
    if not init:
        return [None for _ in specs]
    names = [os.fspath(spec) for spec in specs]
    have = [_has_weights(name) for name in names]
    if all(have):
        raise _needless_init(names[0])
    return [None if each else init for each in have]


def _has_weights(name: str) -> bool:
    """Whether it names an initialization, which is whole, and not a style that needs one."""
    if name.startswith(style_packs.PREFIX):
        return False
    path = home_folder.expanded(name)
    if name not in initialization.SHIPPED and home_folder.is_file(path):
        return style_file.format_of(path) != style_file.STYLE_FORMAT
    if path.suffix == ".safetensors":
        raise UserError(f"{name}: there is no such file; check the name")
    return True


def _needless_init(name: str) -> UserError:
    return UserError(f"{name} has its own weights: leave --init out")


def _load(name: str, init: str | None) -> Stylizer:
    initial = initialization_of(name)
    if initial is None:
        return _of_style_file(style_packs.resolve(name), name, init)
    if init:
        raise _needless_init(name)
    loaded = stylizer.from_initialization(initial)
    if not home_folder.is_file(home_folder.expanded(name)):
        return loaded
    # a parameter file is whole, and so is what is saved of it
    return dataclasses.replace(loaded, record=Record(name, initial.settings))


def _of_style_file(path: Path, name: str, spec: str | None) -> Stylizer:
    _, metadata = style_file.load_style(path)
    settings = metadata["settings"]
    init = _weights_of(path, settings, metadata["weights_digest"], spec)
    style, _ = style_file.load_style(
        path,
        weights_digest=init.digest,
        weights_name=init.name,
        template=init.params["style"],
    )
    moved = sliders.recorded(style_file.load_adjuster(path), style, settings, name)
    return Stylizer(
        init.params["weights"],
        style if moved is None else moved.highest,
        provenance.recorded_noise(settings),
        Record(name, settings, init.name, init.digest),
        moved,
    )


def _weights_of(
    path: Path, settings: dict, digest: str, spec: str | None
) -> initialization.Initialization:
    """The initialization that a style was adapted from, which may be an earlier checkpoint."""
    recorded = settings.get("init", initialization.EMBEDDED)
    try:
        init = initialization.load(spec or recorded)
    except UserError as error:
        if spec:
            raise
        raise UserError(
            f"{path} was adapted from {recorded}, which cannot be loaded ({error}): give its "
            "weights with --init"
        ) from error
    # the training has gone on since: the checkpoint of that time may still be there
    earlier = None if init.digest == digest else initialization.of_weights(recorded, digest)
    if earlier and not spec:
        init = initialization.load(earlier)
    if init.digest != digest:
        remedy = (
            f"give --init={earlier}" if earlier else "give these with --init, or adapt it again"
        )
        raise UserError(
            f"{path} was made for other weights than those of {init.name}: it was adapted from "
            f"{recorded}, weights {digest[:12]}; {remedy}"
        )
    return init
