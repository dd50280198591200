"""python -m metastyle_jax COMMAND ..."""

import sys

from metastyle_jax.errors import exit_cleanly

if __name__ == "__main__":
    with exit_cleanly():
        from metastyle_jax.cli import commands

        commands.main(sys.argv[1:])
