"""Every setting of a training: its default, what it may be, and what it means.

This is the one place where a setting is declared. `configs/default.py` is made from it, `train.py
--help` prints it, and `parse` refuses what it does not allow. A `Settings` is what a `ConfigDict`
becomes; no function below the commands takes a `ConfigDict`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

import ml_collections
from ml_collections import config_dict

from metastyle_jax import bilevel
from metastyle_jax.bilevel import learned_rates
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import task_gradients
from metastyle_jax.runtime import sharding
from metastyle_jax.settings.ranges import FRACTION, LARGEST, POSITIVE_WEIGHT, Range

Allowed = Range | tuple[Any, ...] | None  # numbers, one of a few values, or anything


def _at_least(least: float) -> Range:
    return Range(least, LARGEST)


def _setting(default: Any, help: str, allowed: Allowed = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


@dataclasses.dataclass(frozen=True)
class Data:
    """Where images come from and how they are cropped."""

    content: str = _setting(
        "procedural:1000",
        "photographs: a folder (searched recursively), one picture file, tfds:NAME:SPLIT or "
        "procedural:COUNT",
    )
    style: str = _setting("procedural:1000", "artworks, as data.content")
    tfds_dir: str = _setting("", "folder of prepared TFDS data sets; empty for the default of TFDS")
    image_size: int = _setting(256, "side of the training crops, pixels", _at_least(16))
    min_scale: float = _setting(
        1.0,
        "lower end of the random scale: the short side is resized to min_scale to max_scale "
        "times image_size before the crop",
        _at_least(1),
    )
    max_scale: float = _setting(1.3, "upper end of the random scale", _at_least(1))
    noise: float = _setting(
        0.0, "standard deviation of the input noise on the contents; 0 disables it", FRACTION
    )
    threads: int = _setting(4, "threads that decode, per stream of images", _at_least(0))
    cache: str = _setting(
        "",
        "device: keep all pictures decoded in the memory of the devices, as squares, and crop them "
        "there; empty: read them for each batch",
        ("", "device"),
    )


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """How many images an outer step sees."""

    styles: int = _setting(4, "styles (tasks) per outer step, over all devices", _at_least(1))
    contents: int = _setting(
        4, "contents in the support set, and as many in the query set", _at_least(1)
    )


@dataclasses.dataclass(frozen=True)
class Model:
    """The stylization network and its start."""

    width: int = _setting(32, "channels of the first layer", _at_least(1))
    residual_blocks: int = _setting(5, "number of residual blocks", _at_least(0))
    blur: bool = _setting(
        False, "blur after the first upsampling, against lattices; not published", (True, False)
    )
    dtype: str = _setting("float32", "of the convolutions", ("float32", "bfloat16"))
    init: str = _setting(
        "",
        "start from a workdir (or WORKDIR@STEP), a params.safetensors, or 'embedded'; empty for "
        "a new network",
    )
    predictor: int = _setting(
        0,
        "hidden units of the network that predicts where each style starts; 0 for one start for "
        "all styles",
        _at_least(0),
    )
    predictor_features: str = _setting(
        "",
        "feature network that the predictor sees a style with, at objective.style_layers; empty "
        "for features.network",
    )
    adjuster: int = _setting(
        0,
        "units of each hidden layer of the network that moves a style by the weights of the style "
        "layers, which are drawn from 0 to 1; 0 for weights that stay 1",
        _at_least(0),
    )
    adjuster_layers: int = _setting(3, "its hidden layers; the paper has ten", _at_least(1))
    adjuster_code: int = _setting(
        0,
        "units of a linear layer between these and its last one, which each style can then have "
        "for itself; 0 for none",
        _at_least(0),
    )
    adjuster_deviation: float = _setting(
        0.0,
        "standard deviation of its first kernels (the paper: N(0, 0.01)); 0 for He's, and 0 in its "
        "last layer",
        FRACTION,
    )
    style_noise: float = _setting(
        0.0,
        "standard deviation of noise on the parameters of the style, other for each sample of an "
        "outer step; scales are about 1; 0 disables it",
        _at_least(0),
    )


@dataclasses.dataclass(frozen=True)
class Features:
    """The feature network of the losses."""

    network: str = _setting(
        "vgg16", "distilled, compact, vgg16 or vgg19; with :FILE for weights of your own"
    )
    pooling: Literal["", "max", "average"] = _setting(
        "", "empty for the pooling that the network was trained with", ("", "max", "average")
    )
    dtype: str = _setting("float32", "of the convolutions", ("float32", "bfloat16"))


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings:
    """The perceptual objective of both levels."""

    content_layers: tuple[str, ...] = _setting(("relu2_2",), "layers of the content loss")
    style_layers: tuple[str, ...] = _setting(
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), "layers of the style loss"
    )
    style_loss: str = _setting(
        "gram",
        "gram, linear, poly(CONSTANT), gaussian(BANDWIDTH FACTORS), bn, "
        "sliced_wasserstein(DIRECTIONS), or a weighted sum: 0.3*linear+0.7*gaussian",
    )
    style_layer_weights: tuple[float, ...] = _setting(
        (), "a factor for each style layer; empty for 1"
    )
    content_weight: float = _setting(1.0, "factor of the content loss", _at_least(0))
    style_weight: float = _setting(1e5, "factor of the style loss", _at_least(0))
    total_variation_weight: float = _setting(
        0.0, "factor of the total variation; 0 leaves it out", _at_least(0)
    )
    lattice_weight: float = _setting(
        0.0, "factor of grids of 4 and 2 pixels in what is drawn; 0 leaves it out", _at_least(0)
    )
    average_decay: float = _setting(
        0.0,
        "below 1, multiply each layer's loss by (sum of the moving averages of all layers) / (its "
        "average); the decay of these averages per step; 0 for no averages",
        FRACTION,
    )
    normalize: bool = _setting(
        False,
        "divide each layer's error by the mean square of its target: losses of all styles "
        "then have one size, and weights are of the order of 1",
        (True, False),
    )


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner loop: adaptation to one style."""

    steps: int = _setting(1, "T, inner steps; the paper uses 1 to 5", _at_least(0))
    random_steps: bool = _setting(
        False, "take 1 to T steps, drawn anew for every outer step", (True, False)
    )
    optimizer: str = _setting("sgd", "momentum is 0.9", ("sgd", "momentum", "adam"))
    learning_rate: float = _setting(1e-5, "of the inner optimizer", _at_least(0))
    learned_rates: str = _setting(
        "",
        "learn factors of the rate: one for all, one per layer, per layer and step (LSLR of "
        "MAML++) or per parameter (Meta-SGD); empty for none",
        ("", *learned_rates.KINDS),
    )
    decay: float = _setting(
        2.5e-5, "the rate at outer step n is learning_rate / (1 + decay * n)", _at_least(0)
    )
    clip: float = _setting(
        0.0, "largest norm of the gradient of each style; 0 does not clip", _at_least(0)
    )
    subset: str = _setting(
        "norm",
        "what moves: norm (the style), sliders (the style and the last layer of the adjuster), "
        "all, or patterns of names such as style/residual*,weights/conv4/*",
    )
    unroll: Literal["auto"] | bool = _setting(
        "auto",
        "True compiles inner steps one after the other; False as a loop, with memory that is "
        "flat in T; auto unrolls up to 5 steps on CPU, where loops are slow",
        ("auto", True, False),
    )


@dataclasses.dataclass(frozen=True)
class Outer:
    """The outer loop: meta-training."""

    steps: int = _setting(100_000, "outer steps", _at_least(1))
    learning_rate: float = _setting(1e-5, "of Adam", _at_least(0))
    decay: float = _setting(
        2.5e-5, "the rate at outer step n is learning_rate / (1 + decay * n)", _at_least(0)
    )
    warmup: int = _setting(0, "steps over which the rate rises from 0", _at_least(0))
    style_warmup: int = _setting(0, "steps over which the style weight rises from 0", _at_least(0))
    subset: str = _setting(
        "all", "what moves: all, or patterns of names such as adjuster/*,predictor/*"
    )
    last_layer_rate: float = _setting(
        1.0, "factor of the rate for the last convolution", _at_least(0)
    )
    clip: float = _setting(
        0.0, "largest global norm of the gradients; 0 does not clip", _at_least(0)
    )
    estimator: str = _setting(
        "exact", "of the meta-gradient, see docs/meta_gradients.md", tuple(bilevel.ESTIMATORS)
    )
    combine: str = _setting(
        task_gradients.MEAN,
        "how the gradients of the styles become one: mean; or normalized, each array divided by "
        "its root mean square first, so that no style outweighs others",
        task_gradients.COMBINATIONS,
    )
    first_order_steps: int = _setting(
        0, "outer steps at the beginning that use first_order instead", _at_least(0)
    )
    multi_step: int = _setting(
        0,
        "outer steps over which the outer loss moves from the mean over inner steps to the last "
        "one (MAML++); 0 for the last one alone",
        _at_least(0),
    )
    truncation: int = _setting(
        1, "inner steps that the estimator truncated differentiates exactly", _at_least(0)
    )
    implicit_damping: float = _setting(
        1.0, "lambda of the proximal term of the estimator implicit", POSITIVE_WEIGHT
    )
    implicit_solver_steps: int = _setting(10, "of its conjugate gradients", _at_least(1))


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Data parallelism."""

    kind: Literal["shard_map", "pmap"] = _setting(
        "shard_map", "how the step is spread", tuple(sharding.KINDS)
    )
    devices: int = _setting(0, "devices to use; 0 for all, of all processes", _at_least(0))


@dataclasses.dataclass(frozen=True)
class Log:
    """What a run shows."""

    every: int = _setting(
        50, "steps between lines on the terminal, in JSONL and in TensorBoard", _at_least(1)
    )
    sheet_every: int = _setting(1000, "steps between picture sheets; 0 for none", _at_least(0))
    wandb: str = _setting(
        "", "project of Weights & Biases that gets all this too; needs pip install wandb"
    )


@dataclasses.dataclass(frozen=True)
class Validation:
    """Adaptation to styles that are not trained with, during the training."""

    styles: str = _setting("", "artworks, as data.style; empty for no validation")
    contents: str = _setting("", "photographs, as data.content; empty for data.content")
    every: int = _setting(1000, "steps between validations", _at_least(1))
    count: int = _setting(
        4, "styles to adapt to, evenly spread; each on batch.contents contents", _at_least(1)
    )
    steps: int = _setting(50, "of Adam on the parameters of each style", _at_least(0))
    learning_rate: float = _setting(1e-2, "of that Adam", _at_least(0))


@dataclasses.dataclass(frozen=True)
class CheckpointSettings:
    """What a run keeps."""

    every: int = _setting(1000, "steps between checkpoints", _at_least(1))
    keep: int = _setting(3, "newest checkpoints that stay", _at_least(1))
    keep_every: int = _setting(
        0, "checkpoints of steps that are multiples of this stay too; 0 for none", _at_least(0)
    )
    keep_best: int = _setting(
        0,
        "so many with the lowest outer loss, its mean over the steps since the checkpoint before, "
        "stay too",
        _at_least(0),
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a training."""

    seed: int = _setting(0, "of the initial weights and of the order of the data", _at_least(0))
    data: Data = Data()
    batch: BatchSize = BatchSize()
    model: Model = Model()
    features: Features = Features()
    objective: ObjectiveSettings = ObjectiveSettings()
    inner: Inner = Inner()
    outer: Outer = Outer()
    parallel: Parallel = Parallel()
    log: Log = Log()
    validation: Validation = Validation()
    checkpoint: CheckpointSettings = CheckpointSettings()


class Setting(NamedTuple):
    """One setting: its dotted name, default, what it may be (None: anything) and its meaning."""

    name: str
    default: Any
    allowed: Allowed
    help: str


def declared() -> Iterator[Setting]:
    """All settings, in order."""
    for section in dataclasses.fields(Settings):
        if not dataclasses.is_dataclass(section.default):
            yield _declaration(section, section.name)
            continue
        for field in dataclasses.fields(section.default):
            yield _declaration(field, f"{section.name}.{field.name}")


def _declaration(field: dataclasses.Field, name: str) -> Setting:
    return Setting(name, field.default, field.metadata["allowed"], field.metadata["help"])


def default_config() -> ml_collections.ConfigDict:
    """The defaults as a `ConfigDict`, for files in `configs/` and overrides on the command line."""
    config = ml_collections.ConfigDict()
    for name, default, *_ in declared():
        section, _, rest = name.rpartition(".")
        owner = cast(Any, config)
        if section:
            if section not in config:
                config[section] = ml_collections.ConfigDict()
            owner = cast(Any, config[section])
        if name == "inner.unroll":  # a word or a truth value
            default = config_dict.FieldReference(default, field_type=object)
        owner[rest] = default
    return config


def flatten(config: Any) -> dict[str, Any]:
    """All settings of a `ConfigDict` or a `Settings` by dotted name, `{"inner.steps": 1, ...}`.

    Tuples are given as lists.
    """
    if isinstance(config, ml_collections.ConfigDict):
        items = dict(config.items())
    else:
        items = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    flat: dict[str, Any] = {}
    for name, value in items.items():
        if isinstance(value, ml_collections.ConfigDict) or dataclasses.is_dataclass(value):
            flat |= {f"{name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def parse(flat: Mapping[str, Any]) -> Settings:
    """Settings by dotted name, as `flatten` gives them, each checked on its own.

    Raises:
      UserError: a setting is missing or unknown, or has a value that it may not have.
    """
    known = {setting.name: setting for setting in declared()}
    for name in known:
        if name not in flat:
            raise UserError(f"the configuration has no {name}: start from configs/default.py")
    for name in flat:
        if name not in known:
            raise UserError(f"config.{name} is no setting: python train.py --help lists all")
    values = {name: _checked(setting, flat[name]) for name, setting in known.items()}
    sections: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        if not dataclasses.is_dataclass(field.default):
            sections[field.name] = values[field.name]
            continue
        names = [inner.name for inner in dataclasses.fields(field.default)]
        inner = {name: values[f"{field.name}.{name}"] for name in names}
        sections[field.name] = type(field.default)(**inner)
    return Settings(**sections)


def _checked(setting: Setting, value: Any) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    if setting.name == "inner.unroll":  # a command line gives truth values as words
        value = {"true": True, "false": False}.get(str(value).lower(), value)
    if isinstance(setting.allowed, Range):
        setting.allowed.check(f"config.{setting.name}", value)
    elif setting.allowed is not None and value not in setting.allowed:
        known = ", ".join(str(each) or "''" for each in setting.allowed)
        raise UserError(f"config.{setting.name}={value!r} is unknown: use one of {known}")
    return value
