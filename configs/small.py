"""A bilevel run for a small machine: 128 px, VGG-16 to relu3_3, normalized losses.

    python train.py --config=configs/small.py --workdir=runs/small \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS

On two CPU cores: about 0.55 steps/s, half an hour. Over the last 500 steps expect a mean outer
loss of 3.5 and an inner loss of 4.6 (measured before `model.blur`). Results:
docs/results/training.md.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    config = default.get_config()
    config.data.image_size = 128
    config.data.threads = 1
    config.model.blur = True
    config.batch.styles = 2
    config.batch.contents = 1
    config.objective.style_layers = ("relu1_2", "relu2_2", "relu3_3")
    config.objective.style_weight = 2.0  # relative to the style's own Gram matrices
    config.objective.total_variation_weight = 1.0
    config.objective.normalize = True
    # From benchmarks/inner_rates.py: a step of length about 1 lowers the loss of most styles most,
    # and with this clip nearly all take one. At rates of 0.1 and below a step does next to nothing.
    config.inner.learning_rate = 3.0
    config.inner.clip = 0.3
    config.outer.steps = 1000
    config.outer.learning_rate = 5e-4
    config.outer.decay = 1e-3
    config.outer.warmup = 20
    config.outer.style_warmup = 300
    config.outer.clip = 5.0
    config.outer.last_layer_rate = 0.1  # a lower loss after 500 steps: docs/results/notebook.md
    config.log.every = 20
    config.log.sheet_every = 200
    config.checkpoint.every = 100
    return config
