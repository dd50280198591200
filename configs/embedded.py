"""The initialisation that ships in metastyle_jax/assets: photographs, artworks, embedded features.

    python train.py --config=configs/embedded.py --workdir=runs/embedded \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS
    python scripts/export_params.py runs/embedded metastyle_jax/assets/init.safetensors

No inner loop: each style starts where a predictor says, so that the shared weights learn to draw
them all (`metastyle_jax/predictor.py`); what is kept is these weights and the mean prediction.
One CPU core: 1.9 steps/s. What came of it is in metastyle_jax/assets/README.md.
"""

import ml_collections

from configs import small


def get_config() -> ml_collections.ConfigDict:
    config = small.get_config()
    config.data.image_size = 96
    config.data.min_scale = 2.0  # textures as in pictures of 192 to 270 px
    config.data.max_scale = 2.8
    config.features.network = "compact"
    config.features.pooling = "average"  # what it was trained with
    config.objective.style_layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    config.objective.style_weight = 1.0
    config.model.predictor = 128
    config.inner.steps = 0
    config.batch.styles = 4
    config.outer.steps = 20_000
    config.outer.learning_rate = 1e-3
    config.outer.decay = 2e-4
    config.outer.style_warmup = 200
    config.log.every = 50
    config.checkpoint.every = 200
    return config
