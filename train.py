"""Meta-train a stylizer: python train.py --config=configs/default.py --workdir=DIR [--resume].

Any setting can be overridden: --config.inner.steps=3 --config.data.content=FOLDER
"""

import sys

from metastyle_jax.errors import exit_cleanly


def main(argv: list[str]) -> None:
    with exit_cleanly():
        from metastyle_jax.cli import configuration_flags, terminal
        from metastyle_jax.runtime import compilation_cache
        from metastyle_jax.training import meta_training

        flags = configuration_flags.parse_training(argv)
        terminal.show_log()
        compilation_cache.enable()
        meta_training.train(flags.config, flags.workdir, resume=flags.resume)


if __name__ == "__main__":
    main(sys.argv)
