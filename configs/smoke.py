"""A complete training in under 90 s on two CPU cores: procedural images, embedded features.

python train.py --config=configs/smoke.py --workdir=runs/smoke
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.content = "procedural:32"
    config.data.style = "procedural:32"
    config.data.image_size = 64
    config.data.threads = 1
    config.batch.styles = 2
    config.batch.contents = 1
    config.features.network = "compact"
    config.objective.style_layers = ("relu1_2", "relu2_2", "relu3_3")
    config.objective.style_weight = 5.0
    config.objective.normalize = True
    config.inner.learning_rate = 0.01
    config.outer.steps = 60
    config.outer.learning_rate = 1e-3
    config.log.every = 10
    config.log.sheet_every = 30
    config.checkpoint.every = 20
    return config
