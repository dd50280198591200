"""The initialisation that ships in metastyle_jax/assets: drawn images, embedded features.

    python train.py --config=configs/embedded.py --workdir=runs/embedded
    python scripts/export_params.py runs/embedded metastyle_jax/assets/init.safetensors

Two CPU cores, about 6 minutes. A first form: it has never seen a photograph.
"""

import ml_collections

from configs import small


def get_config() -> ml_collections.ConfigDict:
    config = small.get_config()
    config.data.content = "procedural:300"
    config.data.style = "procedural:300"
    config.data.image_size = 96
    config.features.network = "compact"
    config.features.pooling = "average"  # what its filters were calibrated with
    config.objective.style_weight = 5.0
    config.outer.steps = 600
    config.outer.style_warmup = 200
    return config
