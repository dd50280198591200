"""Meta-train a stylizer: python train.py --config=configs/default.py --workdir=DIR [--resume].

Any setting can be overridden: --config.inner.steps=3 --config.data.content=FOLDER
"""

import sys

from metastyle_jax.errors import exit_cleanly


def main(argv: list[str]) -> None:
    with exit_cleanly():
        from metastyle_jax import command_line, compilation_cache, training

        flags = command_line.parse_training(argv)
        compilation_cache.enable()
        training.train(flags.config, flags.workdir, resume=flags.resume)


if __name__ == "__main__":
    main(sys.argv)
