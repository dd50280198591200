"""Training of the embedded feature network `compact`, by teachers and by contrast of pictures.

    metastyle train-features --config=configs/compact_features.py \
        --workdir=runs/compact --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS \
        --config.teachers="('cd16x:FILE',)"

It took 26 minutes on two CPU cores; metastyle_jax/assets/README.md has the results.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0

    config.data = ml_collections.ConfigDict()
    config.data.content = "procedural:1000"  # as in configs/default.py
    config.data.style = "procedural:1000"
    config.data.image_size = 96
    config.data.max_scale = 2.5  # the short side is resized to 1 .. max_scale times image_size
    config.data.threads = 1

    config.batch = ml_collections.ConfigDict()  # pictures; of each: two crops and a distorted one
    config.batch.styles = 10
    config.batch.contents = 4

    # Any of: cd16x:FILE (VGG-19 compressed for style transfer; the first channels copy it), vgg16,
    # squeezenet:FILE (linear heads predict these two). None trains by contrast alone.
    config.teachers = ()
    config.contrast_weight = 0.1  # relative to the teachers' mean feature errors

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
