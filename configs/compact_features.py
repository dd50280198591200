"""The embedded `compact` feature network: teachers, and contrast between pictures.

    python -m metastyle_jax train-features --config=configs/compact_features.py \
        --workdir=runs/compact --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS \
        --config.teachers="('cd16x:FILE',)"

Two cores: see metastyle_jax/assets/README.md for how long, and for what came of it.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    config.data = ml_collections.ConfigDict()
    config.data.content = "procedural:1000"  # as in configs/default.py
    config.data.style = "procedural:1000"
    config.data.image_size = 96
    config.data.max_scale = 2.5  # crops cover between all and this part of the short side
    config.data.threads = 1

    config.batch = ml_collections.ConfigDict()  # two crops of each picture, and a distorted one
    config.batch.styles = 10
    config.batch.contents = 4

    # cd16x:FILE (VGG-19 compressed for style transfer, which the first channels copy), vgg16 and
    # squeezenet:FILE (which linear heads predict), any of them or none
    config.teachers = ()
    config.contrast_weight = 0.1  # against the mean errors of the teachers' features

    config.optimizer = ml_collections.ConfigDict()  # Adam, warm-up and cosine decay
    config.optimizer.steps = 1400
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup = 100

    config.log = ml_collections.ConfigDict()
    config.log.every = 20

    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.every = 100
    config.checkpoint.keep = 2
    return config
