"""The style losses of a configuration, in training, adaptation and their commands."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

import adapt
import tiny
from configs import smoke
from derivatives import relative_error
from metastyle_jax import bilevel
from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.cli import adapt as adapt_command
from metastyle_jax.cli import adapt_flags, commands, configuration_flags
from metastyle_jax.cli.adapt_output import Task
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.inner_adaptation import InnerLoop
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import stylization_network
from metastyle_jax.settings import configuration, construction, provenance, resuming, schema
from metastyle_jax.storage import initialization, style_file

LAYERS = ("relu1_2",)


def config_with(**changes):
    config = smoke.get_config()
    config.update_from_flattened_dict({f"objective.{k}": v for k, v in changes.items()})
    return config


def test_a_configuration_names_loss_and_layer_weights():
    config = config_with(style_loss="0.5*bn + poly(2)", style_layer_weights=(1.0, 2.0, 3.0))
    objective = construction.make_objective(config)
    assert objective.style_loss == fusion.parse("0.5*bn+poly(2)")
    assert objective.style_layer_weights == (1.0, 2.0, 3.0)
    recorded = {"features.network": "compact", **provenance.record_objective(objective)}
    json.dumps(recorded)
    assert provenance.recorded_objective(recorded) == objective


def test_pooling_belongs_to_the_feature_network():
    """Another network pools as it was trained, the same one as the record says."""
    recorded = {"features.network": "vgg16:a/b.pth", "features.pooling": "average"}
    assert provenance.recorded_features(recorded) == ("vgg16:a/b.pth", "average")
    assert provenance.recorded_features(recorded, "vgg16") == ("vgg16", "average")
    assert provenance.recorded_features(recorded, "vgg19") == ("vgg19", "max")
    embedded = {"features.network": "compact", "features.pooling": "average"}
    assert provenance.recorded_features(embedded, "vgg16:c.pth") == ("vgg16:c.pth", "max")
    assert provenance.recorded_features({}) == ("compact", "average")
    # an empty setting leaves it to the network, which a run may resume with either way
    left = config_with()
    left.features.pooling = ""
    said = config_with()
    said.features.pooling = "average"
    assert resuming.notice(schema.flatten(left), schema.flatten(said)) is None
    network = tiny.feature_network(LAYERS, pooling="average")
    record = provenance.record_features(network)
    assert provenance.recorded_features(record) == ("tiny", "average")


@pytest.mark.parametrize(
    "changes, fragments",
    [
        ({"style_loss": "gramm"}, ["config.objective.style_loss", "'gramm'", "gaussian"]),
        ({"style_loss": "gaussian(-1)"}, ["config.objective.style_loss", "bandwidth"]),
        ({"style_layer_weights": (1.0,)}, ["style_layer_weights=(1.0,)", "each of the 3"]),
        ({"style_layer_weights": (1.0, 0.0, 1.0)}, ["style_layer_weights", "positive"]),
        ({"style_layer_weights": (1.0, float("nan"), 1.0)}, ["style_layer_weights", "positive"]),
        ({"style_layers": ("relu1_2", "relu1_2")}, ["style_layers", "named twice"]),
    ],
)
def test_mistakes_name_the_setting(changes, fragments):
    with pytest.raises(UserError) as caught:
        configuration.read(config_with(**changes))
    assert all(fragment in str(caught.value) for fragment in fragments)


def objective_with(loss: str) -> perceptual.Objective:
    return perceptual.Objective(
        content_layers=("relu1_2",),
        style_layers=LAYERS,
        style_weight=1.0,
        style_loss=fusion.parse(loss),
        normalize=True,
    )


def meta_gradient(loss: str, estimator):
    """(step) -> (gradient, metrics), compiled once."""

    @jax.jit
    def gradient(step):
        return outer_step.outer_gradient(
            tiny.meta_parameters(width=2, residual_blocks=0),
            step,
            tiny.batch(),
            StyleTask(objective_with(loss), tiny.feature_network(LAYERS)),
            loop=InnerLoop(estimator=estimator, optimizer=lambda step, rates: optax.sgd(0.3)),
        )

    return lambda step: gradient(np.int32(step))


@pytest.mark.slow
def test_exact_meta_gradients_equal_reverse_under_every_loss(float64):
    loss = "poly(1) + 0.5*bn + gaussian(1) + sliced_wasserstein(2)"
    exact, metrics = meta_gradient(loss, bilevel.exact)(3)
    reverse, _ = meta_gradient(loss, bilevel.reverse)(3)
    assert relative_error(exact, reverse) < 1e-10
    assert metrics["outer_style"] > 0


def test_random_losses_draw_anew_at_every_outer_step(float64):
    gradient = meta_gradient("gaussian(1)", bilevel.first_order)
    once, again, other = (gradient(step)[1]["outer_style"] for step in (3, 3, 4))
    assert once == again != other


def test_balanced_adaptation_pulls_equally():
    objective = objective_with("gaussian(1)")
    network = tiny.feature_network(LAYERS, dtype=np.float32)
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), tiny.parameters())
    image, content = (np.asarray(tiny.images(1, 16, 16, seed=s), np.float32) for s in (0, 1))
    weight = style_adaptation.balance(params, image[0], content, network, objective)
    objective = dataclasses.replace(objective, style_weight=weight)
    targets = (
        perceptual.content_targets(objective, network, content),
        perceptual.style_targets(objective, network, image),
    )
    outputs = stylization_network.stylize(params["weights"], params["style"], content)

    def norm(part):
        loss_fn = lambda x: perceptual.perceptual_loss(  # noqa: E731
            objective, network, x, *targets, jax.random.key(0)
        )[1][part].sum()
        return np.linalg.norm(jax.jit(jax.grad(loss_fn))(outputs))

    np.testing.assert_allclose(norm("content"), norm("style"), rtol=1e-3)


def adapted(tmp_path, *flags: str) -> dict:
    out, init = tmp_path / "out", tmp_path / "small.safetensors"
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), tiny.parameters(width=2))
    style_file.save_params(init, params, settings={"features.network": "compact"}, command="")
    adapt.main(
        [
            "adapt.py",
            f"--out={out}",
            f"--init={init}",
            "--steps=2",
            "--size=32",
            "--style-size=32",
            *flags,
        ]
    )
    return json.loads((out / "report.json").read_text())


@pytest.mark.slow
def test_adapting_under_another_loss_records_it(tmp_path, standard_promotion, capsys):
    report = adapted(tmp_path, "--style-loss=0.5*bn+0.5*gaussian")
    assert report["style_loss"] == "0.5*bn + 0.5*gaussian(1.0)"
    assert report["style_weight"] > 0
    assert "gamma" in capsys.readouterr().out
    _, metadata = style_file.load_style(tmp_path / "out" / "style.safetensors")
    assert metadata["settings"]["objective.style_loss"] == report["style_loss"]
    assert metadata["settings"]["objective.style_weight"] == report["style_weight"]


@pytest.mark.parametrize(
    "flags, expected",
    [
        ([], 5.0),  # as trained
        (["--style-weight=7"], 7.0),
        (["--gamma=3"], 3 * 0.5),
        (["--style-loss=bn"], 5.0 / 0.5 * 0.2),  # the gamma of the trained loss, 10
        (["--style-loss=bn", "--style-weight=7"], 7.0),
        (["--style-loss=bn", "--gamma=3"], 3 * 0.2),
    ],
)
def test_which_style_weight_is_used(monkeypatch, flags, expected):
    factors = {"gram": 0.5, "bn": 0.2}
    monkeypatch.setattr(
        style_adaptation, "balance", lambda *rest: factors[rest[-1].style_loss.name]
    )
    args = commands.parse(["adapt", *flags])
    adapt_flags.check(args)
    init = initialization.load(initialization.EMBEDDED)._replace(settings={}, predictor=None)
    start = adapt_command._start(args, init, np.zeros((8, 8, 3)))
    task = Task(args, None, None, [], np.zeros((1, 8, 8, 3)), start)
    assert adapt_command._balanced(task).objective.style_weight == pytest.approx(expected)


@pytest.mark.parametrize(
    "flags, fragments",
    [
        (["--style-loss=mmd"], ["--style-loss", "'mmd'", "linear"]),
        (["--gamma=-1"], ["--gamma must be more than 0", "got -1"]),
        (["--gamma=1", "--style-weight=2"], ["--gamma and --style-weight"]),
    ],
)
def test_mistakes_of_adapt_are_one_sentence(tmp_path, flags, fragments, capsys):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        adapted(tmp_path, *flags)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fragment in line for fragment in fragments)
    assert not (tmp_path / "out").exists()


def test_commas_in_brackets_do_not_separate():
    assert configuration_flags.split_list("a, gaussian(0.5, 2),b,") == [
        "a",
        "gaussian(0.5, 2)",
        "b",
    ]


def test_the_balance_command_prints_a_weight_for_each_loss(capsys, standard_promotion):
    sizes = {"data.image_size": 16, "model.width": 2, "model.residual_blocks": 0, "batch.styles": 1}
    overrides = [f"--config.{name}={value}" for name, value in sizes.items()]
    config = str(tiny.__file__).replace("tests/tiny.py", "configs/smoke.py")
    commands.main(["balance", f"--config={config}", *overrides, "--losses=gram,bn", "--batches=2"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith(("| gram", "| bn"))]
    assert len(rows) == 2
    assert all(0 < float(low) <= float(median) <= float(high) for _, low, median, high in rows)
