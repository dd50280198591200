"""Adapt to one style: python adapt.py --style=FILE [--content=FILE|DIR] [--out=DIR].

Without arguments it runs the embedded demonstration. `python adapt.py --help` lists all flags.
"""

import sys

from metastyle_jax.errors import exit_cleanly


def main(argv: list[str]) -> None:
    with exit_cleanly():
        from metastyle_jax.cli import adapt as adapt_command
        from metastyle_jax.cli import terminal
        from metastyle_jax.runtime import compilation_cache

        terminal.show_log()
        compilation_cache.enable()
        adapt_command.run(argv[1:])


if __name__ == "__main__":
    main(sys.argv)
