"""The schema as one types it: every value that a message or a comment names is accepted."""

from __future__ import annotations

import pytest

import train
from metastyle_jax.cli import configuration_flags
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.settings import configuration, construction, schema

FILE = "--config=configs/default.py"
# what the comments of configs/default.py name, beside the choices
NAMED = {
    "data.content": ("photographs", "tfds:coco/2017:train", "procedural:4"),
    "data.tfds_dir": ("", "folder"),
    "model.init": ("", "embedded", "runs/a", "runs/a@40", "params.safetensors"),
    "model.predictor": (0, 128),
    "features.network": ("compact", "vgg16", "vgg19", "vgg16:FILE"),
    "objective.content_layers": (("relu2_2",), ("relu1_2", "relu2_2")),
    "objective.style_loss": (
        *("gram", "linear", "poly(1)", "gaussian(0.5,1,2)", "bn", "sliced_wasserstein(8)"),
        "0.3*linear+0.7*gaussian",
    ),
    "objective.style_layer_weights": ((), (1.0, 2.0, 1, 1)),
    "inner.steps": (1, 5),
    "inner.subset": ("norm", "all", "style/residual*,weights/conv4/*"),
    "inner.clip": (0, 0.3),
    "outer.steps": (100_000,),
    "outer.clip": (0, 5),
    "parallel.devices": (0, 2),
    "log.sheet_every": (0, 10),
}
CHOICES = {
    setting.name: setting.allowed
    for setting in schema.declared()
    if isinstance(setting.allowed, tuple)
}
ALL = [(n, v) for table in (CHOICES, NAMED) for n, values in table.items() for v in values]


@pytest.mark.parametrize("name, value", ALL)
def test_every_named_value_is_accepted(name, value):
    config = configuration_flags.parse_config([FILE, f"--config.{name}={value}"])
    value_read = schema.flatten(configuration.read(config))[name]
    assert value_read == (list(value) if isinstance(value, tuple) else value)


def test_the_choices_are_those_that_are_implemented():
    assert CHOICES["inner.optimizer"] == tuple(construction.INNER_OPTIMIZERS)


@pytest.mark.parametrize(
    "typed, steps, unrolled",
    [
        *(("True", 20, True), ("true", 20, True), ("False", 1, False), ("false", 1, False)),
        *(("auto", 5, True), ("auto", 6, False)),
    ],
)
def test_unrolling_as_it_is_typed(typed, steps, unrolled):
    """The tests run on CPUs, where `auto` depends on the number of steps."""
    flags = [f"--config.inner.unroll={typed}", f"--config.inner.steps={steps}"]
    config = configuration_flags.parse_config([FILE, *flags])
    assert construction.make_inner_loop(configuration.read(config)).unroll is unrolled


@pytest.mark.parametrize("value", ["True", "False", "'auto'", "'False'"])
def test_unrolling_in_a_file(tmp_path, value):
    text = "from configs import default\n\n\ndef get_config():\n    config = default.get_config()\n"
    (tmp_path / "mine.py").write_text(
        f"{text}    config.inner.unroll = {value}\n    return config\n"
    )
    config = configuration_flags.parse_config([f"--config={tmp_path / 'mine.py'}"])
    assert construction.unrolled(configuration.read(config)) is (value in ("True", "'auto'"))
    changed = configuration.changed(config, {"inner.steps": 7})
    assert construction.unrolled(changed) is (value == "True")


def test_another_value_names_those_that_there_are():
    config = configuration_flags.parse_config([FILE, "--config.inner.unroll=maybe"])
    with pytest.raises(UserError, match="='maybe' is unknown: use one of auto, True, False"):
        configuration.read(config)


@pytest.mark.parametrize(
    "argument, message",
    [
        (
            "--config.outer.stepz=3",
            '\'stepz\' Did you mean "steps" instead of "stepz"?; python train.py --help',
        ),
        ("--config.outr.steps=3", "'outr' Did you mean"),
        ("--config.outer.steps=three", "--config.outer.steps=three: invalid literal"),
        ("--config.outer=3", "--config.outer=3: Failed to parse"),
        ("--config.inner.random_steps=maybe", "--config.inner.random_steps=maybe: "),
    ],
)
def test_mistakes_have_no_escape_sequences(argument, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["train.py", FILE, "--workdir=never", argument])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and "\\" not in line


@pytest.mark.parametrize(
    "platforms, error, message",
    [
        ("cuda", AssertionError(), "on JAX_PLATFORMS=cuda, which has no device here: set"),
        (
            "foo",
            RuntimeError("no 'foo' (set JAX_PLATFORMS='')"),
            "JAX_PLATFORMS=foo (no 'foo'): set",
        ),
        ("", RuntimeError("broken"), "cannot start on any device (broken): set JAX_PLATFORMS=cpu"),
    ],
)
def test_a_jax_without_a_device_is_one_sentence(platforms, error, message, monkeypatch, capsys):
    """As jax raises it: from its module of backends."""

    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    names = {"__name__": "jax._src.xla_bridge", "error": error}
    exec("def start():\n    raise error", names)
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        names["start"]()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    with pytest.raises(type(error)), exit_cleanly():  # any other one keeps its traceback
        raise type(error)
