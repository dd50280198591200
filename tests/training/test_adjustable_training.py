"""Adjustable trainings, shrunken: resuming, files, sliders, commands, bad input."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import tiny
from configs import adjustable
from metastyle_jax.adaptation import service
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import schedule
from metastyle_jax.networks import adjuster
from metastyle_jax.settings import configuration, resuming
from metastyle_jax.storage import initialization, style_file
from metastyle_jax.storage.digest import leaf_digests
from metastyle_jax.stylization import sliders
from metastyle_jax.stylization.loading import load
from metastyle_jax.stylization.stylizer import Stylizer
from metastyle_jax.training import meta_training
from processes import ROOT

LAYERS = ("relu1_1", "relu1_2")
TINY = {
    "data.content": "procedural:6",
    "data.image_size": 24,
    "data.threads": 0,
    "batch.contents": 2,
    "model.width": 4,
    "model.residual_blocks": 1,
    "model.adjuster": 16,
    "model.adjuster_layers": 2,
    "features.network": "compact",
    "objective.content_layers": ("relu1_2",),
    "objective.style_layers": LAYERS,
    "outer.steps": 4,
    "outer.learning_rate": 0.02,
    "outer.warmup": 0,
    "outer.style_warmup": 0,
    "parallel.devices": 1,
    "log.every": 1,
    "log.sheet_every": 0,
    "checkpoint.every": 2,
}

pytestmark = pytest.mark.usefixtures("standard_promotion")


def tiny_config(**changes):
    config = adjustable.get_config()
    config.update_from_flattened_dict(
        {**TINY, **{name.replace("__", "."): value for name, value in changes.items()}}
    )
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training of one picture, its last state, and the file it was exported to."""
    folder = tmp_path_factory.mktemp("adjustable")
    random = np.random.default_rng(0)
    for name in ("style.png", "photo.png"):
        Image.fromarray(random.integers(0, 255, (40, 44, 3), np.uint8)).save(folder / name)
    config = tiny_config(data__style=str(folder / "style.png"), log__sheet_every=4)
    with jax.numpy_dtype_promotion("standard"):
        state = meta_training.train(config, folder / "run")
    export(folder / "run", folder / "adjustable.safetensors")
    return folder, config, state


def export(workdir, target) -> None:
    path = ROOT / "scripts" / "export_params.py"
    spec = importlib.util.spec_from_file_location("export_params", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(workdir), str(target)])


def test_the_adjuster_and_the_averages_move(trained):
    folder, config, state = trained
    assert min(float(leaf) for leaf in jax.tree.leaves(state.averages)) > 0
    assert set(state.averages["style"]) == set(LAYERS)
    for layer in state.params.adjuster.values():
        assert np.abs(layer["kernel"]).max() > 0
    with Image.open(folder / "run" / "sheets" / "step_0000004.png") as sheet:
        # content, style, each layer alone, all of them
        assert sheet.width > 5 * config.data.image_size


def test_an_adaptation_minimizes_relative_losses_in_place_of_the_averages(trained):
    folder, config, _ = trained
    stylizer = load(folder / "run")
    assert config.objective.average_decay and not config.objective.normalize
    assert service.start_from(stylizer, features="compact").objective.normalize


def test_resumed_equals_uninterrupted_the_averages_included(trained, tmp_path):
    _, config, expected = trained
    with config.unlocked():
        config = config.copy_and_resolve_references()
        config.log.sheet_every = 0
        config.outer.steps = 2
    meta_training.train(config, tmp_path)
    config.outer.steps = 4
    found = meta_training.train(config, tmp_path, resume=True)
    digests = leaf_digests(jax.device_get(found))
    assert digests == leaf_digests(jax.device_get(expected))
    assert {f"averages/style/{layer}" for layer in LAYERS} <= set(digests)


def test_what_shapes_the_adjuster_cannot_change_on_resuming():
    plain = resuming.fixed(configuration.read(tiny_config(model__adjuster=0)))
    assert not any("adjuster" in name for name in plain)  # checkpoints of before lack it
    fixed = resuming.fixed(configuration.read(tiny_config()))
    assert fixed["model.adjuster"] == 16 and fixed["model.adjuster_layers"] == 2
    assert fixed["objective.style_layers"] == list(LAYERS)


def test_a_parameter_file_gives_back_what_the_training_reached(trained):
    folder, _, state = trained
    path = folder / "adjustable.safetensors"
    params, _ = style_file.load_params(path)
    assert set(params) == {"weights", "style", "adjuster"}
    of_file, of_run = (initialization.load(str(each)) for each in (path, folder / "run"))
    jax.tree.map(np.testing.assert_array_equal, of_run.adjuster, state.params.adjuster)
    for leaf, exact in zip(*map(jax.tree.leaves, (of_file.adjuster, of_run.adjuster)), strict=True):
        assert leaf.dtype == np.float32
        np.testing.assert_allclose(leaf, exact, rtol=1e-3, atol=1e-6)
    again = meta_training.trained_params(str(path), jax.tree.map(jnp.zeros_like, state.params))
    jax.tree.map(np.testing.assert_array_equal, again.adjuster, of_file.adjuster)


def picture() -> np.ndarray:
    return np.asarray(tiny.images(1, 20, 22)[0], np.float32)


def test_the_stylizer_draws_in_the_style_of_the_adjuster(trained):
    folder, _, state = trained
    stylizer, params = load(folder / "run"), state.params
    for weights, alpha in (
        ((1.0, 0.2), {"relu1_1": 1.0, "relu1_2": 0.2}),
        ((0.0, 1.0), {"relu1_1": 0}),  # a layer that is not named has the weight 1
        ((1.0, 1.0), {}),
    ):
        expected = adjuster.adjust(params.adjuster, jnp.asarray([weights]), params.style)
        expected = jax.tree.map(lambda leaf: leaf[0], expected)
        at = stylizer.at(alpha)
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), at.style, expected
        )
        assert at.record.settings["alpha"] == dict(zip(LAYERS, weights, strict=True))
        plain = Stylizer(params.weights, at.style)
        np.testing.assert_array_equal(stylizer(picture(), alpha=alpha), plain(picture()))
    np.testing.assert_array_equal(stylizer(picture()), stylizer(picture(), alpha={}))
    # it matters: four steps after all weights drew alike
    low, high = (stylizer(picture(), alpha=dict.fromkeys(LAYERS, value)) for value in (0, 1))
    assert np.abs(high - low).max() > 1e-3


def test_a_slider_compiles_nothing(trained, programs):
    stylizer = load(trained[0] / "adjustable.safetensors")
    stylizer(picture(), alpha={"relu1_1": 0.5})
    before = programs()
    for value in (0.0, 0.3, 1.0):
        stylizer(picture(), alpha={"relu1_1": value, "relu1_2": 1 - value})
    assert programs() == before


def test_saved_stylizers_keep_their_sliders_and_plain_ones_their_weights(trained, tmp_path):
    folder, _, _ = trained
    alpha = {"relu1_1": 0.1, "relu1_2": 0.8}
    for name in ("run", "adjustable.safetensors"):
        stylizer = load(folder / name)
        stylizer.save(tmp_path / "all.safetensors")
        expected = stylizer(picture(), alpha=alpha)
        again = load(tmp_path / "all.safetensors")
        np.testing.assert_array_equal(again(picture(), alpha=alpha), expected)
        stylizer.at(alpha).save(tmp_path / "one.safetensors")
        frozen = load(tmp_path / "one.safetensors")
        assert frozen.sliders is None
        np.testing.assert_array_equal(frozen(picture()), expected)
        with pytest.raises(UserError, match="has one style and no weights of layers to choose"):
            frozen.at(alpha)
        with pytest.raises(UserError, match="give a strength of at most 1"):
            stylizer(picture(), strength=1.2, alpha=alpha)


def stylize(folder, *flags: str, style: str = "adjustable.safetensors") -> np.ndarray:
    out = folder / "out"
    commands.main(
        ["stylize", str(folder / style), str(folder / "photo.png"), f"--out={out}", *flags]
    )
    return np.asarray(Image.open(out / "photo.png"))


def test_the_command_draws_what_the_stylizer_draws(trained):
    folder, _, _ = trained
    photo = np.asarray(Image.open(folder / "photo.png"))
    stylizer = load(folder / "adjustable.safetensors")
    one = stylize(folder, "--alpha=relu1_1:1,relu1_2:0.2")
    np.testing.assert_array_equal(one, stylizer(photo, alpha={"relu1_1": 1, "relu1_2": 0.2}))
    # other weights are another picture: nothing is skipped as up to date
    other = stylize(folder, "--alpha=relu1_1:0,relu1_2:0")
    assert (one != other).any()


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        ("relu1_1:1.1", r"the weight of relu1_1 must be between 0 and 1, got 1\.1"),
        ("relu1_1:-0.1", "between 0 and 1"),
        ("relu1_1:nan", "between 0 and 1"),
        ("relu4_3:1", r"has no weight for relu4_3: it was trained with those of relu1_1, relu1_2"),
        ("relu1_1:1,relu1_1:0", "names relu1_1 twice: give each layer one weight"),
        ("relu1_1=1", "'relu1_1=1' is not LAYER:WEIGHT, as in relu2_2:1,relu3_3:0.2"),
        ("", "'' is not LAYER:WEIGHT"),
    ],
)
def test_weights_that_cannot_be_are_one_sentence(trained, alpha, message):
    with pytest.raises(UserError, match=message) as error:
        stylize(trained[0], f"--alpha={alpha}", "--redo")
    assert error.value.exit_code == 2


def test_a_model_without_sliders_says_so(trained):
    folder, _, _ = trained
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters())
    style_file.save_params(folder / "plain.safetensors", params, settings={})
    with pytest.raises(UserError, match=r"plain.* has one style and no weights of layers"):
        stylize(folder, "--alpha=relu1_1:1", style="plain.safetensors")
    stylizer = load(folder / "adjustable.safetensors")
    with pytest.raises(UserError, match="must be between 0 and 1, got 2"):
        stylizer(picture(), alpha={"relu1_1": 2})


def test_weights_on_a_command_line():
    assert sliders.parse("--alpha", "relu2_2:1, relu3_3:0.2") == {"relu2_2": 1, "relu3_3": 0.2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__style": "procedural:2"}, "has 2 pictures, but an adjuster without a predictor"),
        ({"inner__subset": "all", "inner__steps": 1}, r"use config\.inner\.subset='norm'"),
        ({"objective__average_decay": 1.0}, "would never learn an average: use 0.99"),
        ({"model__adjuster_layers": 0}, r"config\.model\.adjuster_layers must be between 1"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        meta_training.train(tiny_config(**changes), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_the_configuration_is_a_training():
    settings = configuration.read(adjustable.get_config())
    assert settings.model.residual_blocks == 7 and settings.objective.content_weight == 1
    assert settings.objective.style_layers == ("relu2_2", "relu3_3", "relu4_3")
    assert schedule.Schedule(average_decay=settings.objective.average_decay).average_decay > 0
