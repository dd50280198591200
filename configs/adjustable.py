"""Adjustable real-time style transfer (Babaeizadeh & Ghiasi 2020): one style, weights of layers.

    pip install -e '.[vgg]'
    python train.py --config=configs/adjustable.py --workdir=runs/adjustable \
        --config.data.content=PHOTOGRAPHS --config.data.style=STYLE.jpg
    metastyle stylize runs/adjustable PHOTO.jpg --alpha=relu2_2:1,relu3_3:0.2,relu4_3:0 --out=out

For each content the weight of each style layer is drawn from 0 to 1, and the network learns to draw
what it asks for. Several styles: --config.data.style=ARTWORKS --config.model.predictor=128; then a
style starts where the predictor says, and all share the adjuster.

As in the paper: 7 residual blocks (its table; its text says 8), losses normalized by their moving
averages, content weight 1, content from the last layer of block 3, style from the last layers of
blocks 2 to 4 (the layer it calls conv2_3 exists in no VGG), Adam 1e-3, batches of 8. Not as in the
paper: VGG-16 for VGG-19, 128 px, and an adjuster of 3 layers of 128 units. The paper's table is
--config.model.adjuster=1000 --config.model.adjuster_layers=11 (3 -> 1000 and ten of 1000), its
start --config.model.adjuster_deviation=0.01. It trains for 200,000 steps. Not run to the end yet.
"""

import ml_collections

from configs import small


def get_config() -> ml_collections.ConfigDict:
    config = small.get_config()
    config.data.style = "procedural:1"
    config.model.residual_blocks = 7
    config.model.adjuster = 128
    config.model.adjuster_layers = 3
    config.batch.styles = 1
    config.batch.contents = 8
    config.objective.content_layers = ("relu3_3",)
    config.objective.style_layers = ("relu2_2", "relu3_3", "relu4_3")
    config.objective.style_weight = 1.0
    config.objective.normalize = False
    config.objective.average_decay = 0.99
    config.inner.steps = 0
    config.outer.steps = 20_000
    config.outer.learning_rate = 1e-3
    config.outer.decay = 1e-4
    config.outer.last_layer_rate = 1.0
    config.checkpoint.every = 250
    return config
