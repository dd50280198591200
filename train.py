"""Meta-train a stylizer: python train.py --config=configs/default.py --workdir=DIR [--resume].

The same as `metastyle train`. Any setting can be overridden: --config.inner.steps=3
"""

import sys

from metastyle_jax import __main__ as program


def main(argv: list[str]) -> None:
    program.main(["train", *argv[1:]])


if __name__ == "__main__":
    program.start(["train", *sys.argv[1:]])
