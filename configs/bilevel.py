"""The paper's scale, with an inner rate at which an inner step changes the loss.

    python train.py --config=configs/bilevel.py --workdir=runs/bilevel \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS

Losses are normalized, so that one inner rate fits all styles. The recipe is that of
configs/small.py, which has been run (docs/results/training.md). This one, at 256 px and with
features up to relu4_3, is meant for a GPU and has not been run yet.
"""

import ml_collections

from configs import default, small


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    recipe = small.get_config()
    for name in ("style_weight", "total_variation_weight", "normalize"):
        config.objective[name] = recipe.objective[name]
    config.model.blur = recipe.model.blur
    config.inner.learning_rate = recipe.inner.learning_rate
    config.inner.clip = recipe.inner.clip
    for name in ("learning_rate", "warmup", "style_warmup", "clip"):
        config.outer[name] = recipe.outer[name]
    return config
