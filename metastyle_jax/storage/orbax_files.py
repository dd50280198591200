"""Orbax: saving and restoring named items in one folder, without its log lines."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp


def save(folder: Path, items: Mapping[str, Any]) -> None:
    """Save a pytree of arrays under each name.

    Raises:
      OSError: the folder cannot be written.
    """
    arguments = {name: ocp.args.PyTreeSave(tree) for name, tree in items.items()}
    try:
        with _quiet_threads(), _checkpointer() as checkpointer:
            checkpointer.save(folder, args=ocp.args.Composite(**arguments))
    except OSError:
        raise
    except Exception as error:  # tensorstore reports a full disk and the like as ValueError
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number), os.fspath(folder)) from error
        raise OSError(first_line(error)) from error


def restore(folder: Path, names: Sequence[str]) -> Any:
    """The items of these names; item by item, because Orbax's container is no pytree.

    Raises:
      Exception: of Orbax or tensorstore; the folder cannot be read.
    """
    items = {name: ocp.args.PyTreeRestore() for name in names}
    with _checkpointer() as checkpointer:
        return checkpointer.restore(folder, args=ocp.args.Composite(**items))


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    """Orbax without its log lines; this project reports errors itself."""
    absl_logger = logging.getLogger("absl")
    disabled, absl_logger.disabled = absl_logger.disabled, True
    try:
        # of several processes one saves and restores: Orbax shall not wait for the others
        alone = {"active_processes": {jax.process_index()}, "primary_host": jax.process_index()}
        options = ocp.options.MultiprocessingOptions(**alone)
        handler = ocp.CompositeCheckpointHandler(
            composite_options=ocp.CompositeOptions(multiprocessing_options=options)
        )
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield checkpointer
    finally:
        absl_logger.disabled = disabled


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """Suppress the traces that threads and tasks of tensorstore print after a failed write.

    The first failed write closes Orbax's event loop. Later writes then fail in their threads, and
    tasks whose errors nobody asks for log them when they are collected. `save` raises the first
    error. After an error all stay quiet, because the others go on failing.
    """
    hook = sys.unraisablehook
    loggers = [logging.getLogger(name) for name in ("asyncio", "absl")]
    before = [logger.disabled for logger in loggers]

    def quieter(unraisable: sys.UnraisableHookArgs) -> None:
        trace = unraisable.exc_traceback
        if trace is None or trace.tb_frame.f_code.co_name != "call_soon_threadsafe":
            hook(unraisable)

    sys.unraisablehook = quieter
    for logger in loggers:
        logger.disabled = True
    yield
    sys.unraisablehook = hook
    for logger, disabled in zip(loggers, before, strict=True):
        logger.disabled = disabled


def first_line(error: Exception) -> str:
    """First line of an error message, at most 200 characters."""
    line = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return (line or type(error).__name__)[:200]
