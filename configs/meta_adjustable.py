"""Meta-learned and adjustable: after 100 steps, a style never seen has sliders for its layers.

    pip install -e '.[vgg]'
    python train.py --config=configs/meta_adjustable.py --workdir=runs/meta_adjustable \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS
    python adapt.py --adjustable --init=runs/meta_adjustable --style=STYLE.jpg --content=PHOTO.jpg
    metastyle stylize out/style.safetensors PHOTO.jpg --alpha=relu2_1:1,relu4_1:0.2 --out=out

The embedded network stays as it is, and so does its predictor. What is learned is the adjuster
(Lambda of Babaeizadeh & Ghiasi 2020): how a style moves with the weights of the style layers. One
network then serves both, with sliders and without.

Why so: a style is 3,200 numbers, and Lambda's last layer would be 64 times as many for each. Here
a code of 8 units comes before it, so that a style and a last layer for it alone fit into a file of
140 kB. These two are what an adaptation moves; the layers before the code are shared by all styles.

The weights of the objective take the place of the paper's moving averages: errors are relative to
the style, and the start has been trained, so that their sizes no longer drift. With a weight of 1
each layer's share of the loss is about half of the content's. They are constants of the inner loop
and of an adaptation; nothing has to be kept of it for each style.

Contents come in pairs of opposite weights (`metalearning.schedule.draw_alpha`); without, after
1,269 steps of 4 styles x 1 content, the adjuster hardly moved a style before any gradient step.

The shipped metastyle_jax/assets/sliders.safetensors began with that one (rates 1e-3 and 4e-3, an
earlier embedded start), went on for 1,602 steps of this configuration (one CPU core, 0.6 steps/s),
and for 1,840 steps at 256 px, 4 styles x 4 contents, for the embedded start of today (27 s on an
H200, 68 steps/s, outer loss 1.62 at the end):

    benchmarks/gpu_run.sh train sliders
    python scripts/export_sliders.py out/gpu/sliders/params.safetensors \
        metastyle_jax/assets/sliders.safetensors

Results: docs/adjustable.md.
"""

import ml_collections

from configs import embedded


def get_config() -> ml_collections.ConfigDict:
    config = embedded.get_config()
    config.model.init = "embedded"
    config.model.adjuster = 64
    config.model.adjuster_layers = 2
    config.model.adjuster_code = 8
    config.batch.styles = 2
    config.batch.contents = 2  # a pair
    config.objective.style_layer_weights = (15.0, 8.0, 4.0, 1.3)
    config.inner.subset = "sliders"
    config.outer.subset = "adjuster/*"
    config.outer.steps = 2000
    config.outer.learning_rate = 2e-3
    config.outer.decay = 1e-3
    config.log.sheet_every = 250
    return config
