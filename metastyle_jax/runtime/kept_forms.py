"""The forms of convolutions that were measured on this machine, kept in the cache folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import jax

from metastyle_jax.networks import convolution_forms
from metastyle_jax.networks.convolution_forms import Forms
from metastyle_jax.runtime import compilation_cache
from metastyle_jax.storage import atomic, cache_folder

_LOG = logging.getLogger(__name__)


def enable() -> None:
    """Let programs for CPUs take what was measured here; entry points call it before any program.

    Not with several processes, which must run the same program.
    """
    if jax.default_backend() == "cpu" and jax.process_count() == 1 and (forms := load()):
        convolution_forms.use(forms)


def path() -> Path:
    """The file, one for each kind of processor and version of jaxlib."""
    return cache_folder.default_folder() / "convolutions" / f"{compilation_cache.processor()}.json"


def load() -> Forms | None:
    """What was measured on this machine; None if nothing was.

    A file that is damaged, or of another version, is not used; a warning is logged.
    """
    try:
        text = path().read_bytes()
    except (OSError, RuntimeError):  # none, or no home folder
        return None
    try:
        return _parsed(json.loads(text))
    except (ValueError, TypeError):
        _LOG.warning(
            f"{path()} is not used, because it does not say how to compute convolutions: run "
            "metastyle doctor --measure again, or remove it"
        )
        return None


def _parsed(values: object) -> Forms:
    """Raises ValueError or TypeError where `values` are not those of `Forms`."""
    if not isinstance(values, dict):
        raise TypeError("no object")
    forms = Forms(**values)
    for given, usual in zip(forms, Forms(), strict=True):
        if type(given) is not type(usual) or given < 0:
            raise ValueError(given)
    return forms


def keep(forms: Forms) -> Path:
    """Write `forms` for the next processes; returns the file.

    Raises:
      UserError: the file cannot be written.
    """
    atomic.write_text(path(), json.dumps(forms._asdict(), indent=1) + "\n")
    return path()


def described() -> str:
    """What `metastyle doctor` says of them."""
    if jax.default_backend() != "cpu":
        return f"as the library of the {jax.default_backend()} chooses"
    forms = convolution_forms.used()
    source = "measured here" if load() else "not measured here: metastyle doctor --measure"
    return f"{in_words(forms)} ({source})"


def in_words(forms: Forms) -> str:
    """One line."""
    channels = forms.winograd_channels
    return ", ".join(
        (
            f"Winograd from {channels} channels" if channels else "no Winograd",
            f"first 9x9 {'in blocks' if forms.first_in_blocks else 'directly'}",
            f"last 9x9 {'in blocks' if forms.last_in_blocks else 'directly'}",
            f"upsampling {'in phases' if forms.upsampling_in_phases else 'directly'}",
        )
    )
