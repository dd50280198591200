"""Training of the embedded feature network `distilled`, which predicts the features of VGG-16.

    metastyle train-features --config=configs/distilled_features.py \
        --workdir=runs/distilled --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS

metastyle_jax/assets/README.md has the time that it took and the results.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.architecture = "distilled"  # or distilled-wide, twice as wide; see networks/vgg.py
    config.teacher = "vgg16"  # or vgg16:FILE; with average pooling

    config.data = ml_collections.ConfigDict()
    config.data.content = "procedural:1000"  # as in configs/default.py
    config.data.style = "procedural:1000"
    config.data.image_size = 96
    config.data.max_scale = 3.0  # the short side is resized to 1 .. max_scale times image_size
    config.data.threads = 1

    config.batch = ml_collections.ConfigDict()  # pictures that are seen in a step
    config.batch.contents = 2
    config.batch.styles = 3
    config.batch.distorted = 1  # of the styles, a second time
    config.batch.drawn = 4  # being optimized for the student as it is

    # steps of Adam on the pixels of `batch.drawn` in each step; one of these begins anew
    config.drawing_steps = 3
    config.gram_weight = 0.2  # error of Gram matrices; that of the features has 1

    config.optimizer = ml_collections.ConfigDict()  # Adam, warm-up and cosine decay
    config.optimizer.steps = 3000
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup = 100

    config.log = ml_collections.ConfigDict()
    config.log.every = 20

    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.every = 100
    config.checkpoint.keep = 2
    return config
