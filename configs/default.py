"""The paper's setting (Zhang, Zhu, Zhu, "MetaStyle", AAAI 2019).

    python train.py --config=configs/default.py --workdir=runs/default \
        --config.data.content=PHOTOGRAPHS --config.data.style=ARTWORKS

Hardware: GPUs or TPUs; 4 styles, so 1, 2 or 4 devices. Features: VGG-16, which comes with
`pip install -e '.[vgg]'` (or from a file: `vgg16:FILE`).

At the published inner rate of 1e-5 one inner step changes the loss by about 0.01 %: the inner loop
is all but absent and this is joint training over styles. `configs/bilevel.py` is the same with a
rate at which the bilevel problem is real; docs/results.md compares the two at 128 px.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    config.seed = 0  # of the initial weights and of the order of the data

    config.data = ml_collections.ConfigDict()
    # a folder (searched recursively), `tfds:NAME:SPLIT`, or `procedural:COUNT`
    config.data.content = "procedural:1000"
    config.data.style = "procedural:1000"
    config.data.tfds_dir = ""  # where prepared TFDS data sets are; empty for TFDS's own default
    config.data.image_size = 256  # side of the training crops, pixels
    # crops are cut after the short side was resized to min_scale .. max_scale times image_size
    config.data.min_scale = 1.0
    config.data.max_scale = 1.3
    # deviation of the noise on contents that are drawn, in [0, 1]: strokes where contents are flat
    config.data.noise = 0.0
    config.data.threads = 4  # that decode, per stream of images

    config.batch = ml_collections.ConfigDict()
    config.batch.styles = 4  # tasks per outer step, over all devices
    config.batch.contents = 4  # in the support set, and as many in the query set

    config.model = ml_collections.ConfigDict()
    config.model.width = 32  # channels of the first layer
    config.model.residual_blocks = 5
    config.model.blur = False  # after the first upsampling, against lattices; not published
    config.model.dtype = "float32"  # of the convolutions; or bfloat16
    # a workdir (or WORKDIR@STEP), a params.safetensors or "embedded" to start from; empty for a new
    # network
    config.model.init = ""
    # hidden units of a network that predicts where each style starts; 0 for one start for all
    config.model.predictor = 0

    config.features = ml_collections.ConfigDict()
    config.features.network = "vgg16"  # compact, vgg16, vgg19, each with :FILE for weights of yours
    config.features.pooling = ""  # max or average; empty for what the network was trained with
    config.features.dtype = "float32"  # of the convolutions; or bfloat16

    config.objective = ml_collections.ConfigDict()
    config.objective.content_layers = ("relu2_2",)
    config.objective.style_layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    # gram, linear, poly(CONSTANT), gaussian(BANDWIDTH FACTORS), bn, sliced_wasserstein(DIRECTIONS),
    # or a sum of them with weights: 0.3*linear+0.7*gaussian; see docs/losses.md
    config.objective.style_loss = "gram"
    config.objective.style_layer_weights = ()  # one factor per style layer; empty for 1
    config.objective.content_weight = 1.0
    config.objective.style_weight = 1e5
    config.objective.total_variation_weight = 0.0
    # True divides each layer's error by the mean square of its target, so that all styles have
    # losses of one size; the weights above then need to be of the order of 1
    config.objective.normalize = False

    config.inner = ml_collections.ConfigDict()
    config.inner.steps = 1  # T; the paper uses 1 to 5
    config.inner.random_steps = False  # take 1 to T steps, drawn anew for every outer step
    config.inner.optimizer = "sgd"  # or momentum (0.9), adam
    config.inner.learning_rate = 1e-5  # of that optimizer
    # factors of the rate that the outer loop learns: one, layer (a factor each), layer_step (one
    # per layer and inner step, LSLR of MAML++), parameter (Meta-SGD); empty for none
    config.inner.learned_rates = ""
    config.inner.decay = 2.5e-5  # the rate at outer step n is learning_rate / (1 + decay * n)
    config.inner.clip = 0.0  # norm that the gradient of each style is clipped to; 0 does not clip
    # what moves: norm (the style), all, or patterns of names: "style/residual*,weights/conv4/*"
    config.inner.subset = "norm"
    # True compiles the inner steps one after the other, False as a loop, in which memory is flat in
    # T; auto unrolls up to 5 steps on CPU, where XLA has no fast convolutions inside loops
    config.inner.unroll = config_dict.FieldReference("auto", field_type=object)  # a word or a bool

    config.outer = ml_collections.ConfigDict()
    config.outer.steps = 100_000
    config.outer.learning_rate = 1e-5  # of Adam
    config.outer.decay = 2.5e-5  # as that of the inner rate
    config.outer.warmup = 0  # steps over which the rate rises from 0
    config.outer.style_warmup = 0  # steps over which the style weight rises from 0
    config.outer.last_layer_rate = 1.0  # factor of the rate for the last convolution
    config.outer.clip = 0.0  # global norm that gradients are clipped to; 0 does not clip
    # exact, reverse, reverse_remat: the same gradient, second order; first_order (FOMAML),
    # truncated (exact for the last steps), implicit (iMAML), reptile; ablations: hessian_only,
    # mixed_only
    config.outer.estimator = "exact"
    config.outer.first_order_steps = 0  # outer steps at the beginning that use first_order instead
    # outer steps over which the outer loss goes over from the mean over inner steps to the last one
    # (MAML++); 0 for the last one alone
    config.outer.multi_step = 0
    config.outer.truncation = 1  # inner steps that truncated differentiates exactly
    config.outer.implicit_damping = 1.0  # lambda of the proximal term of implicit
    config.outer.implicit_solver_steps = 10  # of its conjugate gradients

    config.parallel = ml_collections.ConfigDict()
    config.parallel.kind = "shard_map"  # or pmap
    config.parallel.devices = 0  # how many to use; 0 for all

    config.log = ml_collections.ConfigDict()
    config.log.every = 50  # steps between lines on the terminal, in JSONL and in TensorBoard
    config.log.sheet_every = 1000  # steps between picture sheets; 0 for none

    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.every = 1000  # steps
    config.checkpoint.keep = 3  # how many of the newest stay
    return config
