"""A bilevel run for a small machine: 128 px, VGG-16 to relu3_3, normalised losses.

    python train.py --config=configs/small.py --workdir=runs/small \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS \
        --config.features.network=vgg16:FILE
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.image_size = 128
    config.data.threads = 1
    config.batch.styles = 2
    config.batch.contents = 1
    config.objective.style_layers = ("relu1_2", "relu2_2", "relu3_3")
    # relative to the style's own Gram matrices; at 5 the content was lost within 200 steps
    config.objective.style_weight = 2.0
    config.objective.total_variation_weight = 3.0  # against lattices
    config.objective.normalize = True
    config.inner.learning_rate = 0.2
    config.inner.clip = 2.5  # styles differ by 100 in gradient norm while the network is young
    config.outer.steps = 1200
    config.outer.learning_rate = 1e-3
    config.outer.warmup = 50
    config.outer.clip = 10.0
    config.log.every = 20
    config.log.sheet_every = 200
    config.checkpoint.every = 100
    return config
