"""The paper's setting (Zhang, Zhu, Zhu, "MetaStyle", AAAI 2019).

    python train.py --config=configs/default.py --workdir=runs/default \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS

Hardware: GPUs or TPUs; 4 styles x 4 contents, so 1, 2, 4, 8 or 16 devices.
Features: VGG-16, installed by `pip install -e '.[vgg]'` or read from a file (`vgg16:FILE`).

At the published inner rate, 1e-5, one inner step changes the loss by about 0.01 %. That is nearly
the same as joint training over styles without an inner loop. `configs/bilevel.py` has a rate at
which an inner step counts; docs/results/training.md compares the two at 128 px.

Every setting, its default, its range and its meaning are declared in
`metastyle_jax/settings/schema.py`, and `python train.py --help` prints them. This file has the
defaults; the other files in this folder change some of them.
"""

import ml_collections

from metastyle_jax.settings import schema


def get_config() -> ml_collections.ConfigDict:
    return schema.default_config()
