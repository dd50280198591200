"""metastyle COMMAND ..., or python -m metastyle_jax COMMAND ..."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from metastyle_jax.errors import exit_cleanly
from metastyle_jax.runtime import huge_pages


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    Args:
      argv: without the program's name; None for those of the process.

    Raises:
      SystemExit: see `errors.exit_cleanly`.
    """
    with exit_cleanly():
        from metastyle_jax.cli import commands

        commands.main(sys.argv[1:] if argv is None else argv)


def start(argv: Sequence[str] | None = None) -> None:
    """`main` for a process of its own: it may begin again, see `huge_pages`."""
    huge_pages.begin_again()
    main(argv)


if __name__ == "__main__":
    start()
