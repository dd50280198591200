"""What the package logs, as plain lines on the terminal."""

from __future__ import annotations

import logging
import sys

_PACKAGE = "metastyle_jax"


class Terminal(logging.Handler):
    """Prints messages alone: information on stdout, warnings and errors on stderr.

    The streams are looked up for each line, so that a stream that was replaced is used. Whoever
    reads stdout may go away; that error is the command's, see `errors.exit_cleanly`.
    """

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=stream, flush=True)


def show_log() -> None:
    """Show what this package logs, once however often it is called."""
    logger = logging.getLogger(_PACKAGE)
    if not any(isinstance(handler, Terminal) for handler in logger.handlers):
        logger.addHandler(Terminal())
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries put handlers of theirs on the root


def hide_log() -> None:
    """Undo `show_log`."""
    logger = logging.getLogger(_PACKAGE)
    for handler in list(logger.handlers):
        if isinstance(handler, Terminal):
            logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
