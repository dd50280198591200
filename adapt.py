"""Adapt to one style: python adapt.py --style=FILE [--content=FILE|DIR] [--out=DIR].

The same as `metastyle adapt`. Without arguments it runs the embedded demonstration.
"""

import sys

from metastyle_jax import __main__ as program


def main(argv: list[str]) -> None:
    program.main(["adapt", *argv[1:]])


if __name__ == "__main__":
    program.start(["adapt", *sys.argv[1:]])
