"""Training of the distilled features: losses by hand, drawn pictures, resuming, mistakes."""

from __future__ import annotations

import json
import re

import jax
import numpy as np
import pytest
import safetensors.numpy

import tiny
from configs import distilled_features
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.features import registry, weight_files
from metastyle_jax.features.training import distillation, drawn_pictures, student
from metastyle_jax.losses import perceptual
from metastyle_jax.networks import vgg
from metastyle_jax.storage import checkpoint, safetensors_file
from metastyle_jax.storage.digest import leaf_digests
from metastyle_jax.storage.folder_lock import locked


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.asarray(tiny.images(count, size, size, seed=seed), np.float32)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    """A random VGG-16 to relu4_3 as a file."""
    weights = tiny.feature_weights(student.LAYERS, architecture="vgg16")
    keys = weight_files.torchvision_keys("vgg16")
    arrays = {}
    for conv, one in weights.items():
        kernel = np.asarray(one["kernel"], np.float32).transpose(3, 2, 0, 1)
        arrays[f"{keys[conv]}.weight"] = np.ascontiguousarray(kernel)
        arrays[f"{keys[conv]}.bias"] = np.asarray(one["bias"], np.float32)
    path = tmp_path_factory.mktemp("teacher") / "vgg16.safetensors"
    safetensors.numpy.save_file(arrays, path)
    return f"vgg16:{path}"


def config(teacher: str = "vgg16", **changes):
    small = {
        "teacher": teacher,
        "data.content": "procedural:4",
        "data.style": "procedural:4",
        "data.image_size": 32,
        "batch.styles": 1,
        "batch.contents": 1,
        "batch.drawn": 2,
        "drawing_steps": 1,
        "optimizer.steps": 6,
        "log.every": 1,
        "checkpoint.every": 2,
    }
    config = distilled_features.get_config()
    config.update_from_flattened_dict(small | changes)
    return config


def test_errors_by_hand():
    """Predictions of twice the teacher's features have error 1, and Gram matrices 9."""
    params = student.init(jax.random.key(0), "distilled")
    x = images(3, 16)
    seen = student.as_network(params).extract(x, ("relu1_1", "relu2_2"))
    exact = student.loss(params, x, seen, gram_weight=0.5)[0]
    assert exact == pytest.approx(0, abs=1e-6)
    halves = {layer: each / 2 for layer, each in seen.items()}
    total, parts = student.loss(params, x, halves, drawn=1, gram_weight=0.5)
    assert parts["features relu2_2"] == pytest.approx(1, rel=1e-4)
    assert parts["gram"] == pytest.approx(9, rel=1e-4)
    assert parts["drawn gram"] == pytest.approx(9, rel=1e-4)
    assert total == pytest.approx(1 + 0.5 * 9, rel=1e-4)
    # what was drawn is reported apart: the last picture alone is wrong
    wrong = {layer: each.at[2].multiply(0.5) for layer, each in seen.items()}
    _, parts = student.loss(params, x, wrong, drawn=1, gram_weight=0.5)
    assert parts["gram"] == pytest.approx(0, abs=1e-6)
    assert parts["drawn gram"] == pytest.approx(9, rel=1e-4)


def test_a_wider_student_sees_through_all_its_channels():
    """Its trunk is twice as wide, what it predicts has the channels of VGG-16."""
    params = student.init(jax.random.key(3), "distilled-wide")
    assert params["conv3_2"]["kernel"].shape == (3, 3, 144, 144)
    gradient = jax.grad(
        lambda params: (
            student.as_network(params).extract(images(1, 16), ["relu3_1"])["relu3_1"].sum()
        )
    )(params)
    assert gradient["head3_1"]["kernel"].shape == (1, 1, 144, 256)
    assert (np.abs(gradient["head3_1"]["kernel"]).max(axis=(0, 1, 3)) > 0).mean() > 0.9


def test_scaling_the_heads_scales_what_they_predict():
    """A ReLU commutes with positive factors."""
    params = student.init(jax.random.key(1), "distilled")
    x = images(2, 16)
    layers = ("relu1_2", "relu3_1")
    before = student.as_network(params).extract(x, layers)
    scales = student.scales({layer: 3 * each for layer, each in before.items()})
    after = student.as_network(student.scaled(params, scales)).extract(x, layers)
    for layer in layers:
        seen = np.asarray(before[layer])
        rms = 3 * np.sqrt(np.square(seen).mean(axis=(0, 1, 2)))
        np.testing.assert_allclose(after[layer], seen * rms, rtol=1e-3, atol=1e-4)


def test_the_oldest_drawn_picture_makes_way_and_the_others_get_better(standard_promotion):
    weights = student.init(jax.random.key(2), "distilled")
    contents, styles = images(2, 32, seed=1), 0.3 * images(2, 32, seed=2)
    drawn = drawn_pictures.start(contents, styles)
    moved = drawn_pictures.optimize(drawn, weights, 3)
    objective, network = drawn_pictures.OBJECTIVE, student.as_network(weights)
    targets = (
        perceptual.content_targets(objective, network, contents),
        perceptual.style_targets(objective, network, styles),
    )
    before, after = (
        np.asarray(perceptual.perceptual_loss(objective, network, each.images, *targets)[0])
        for each in (drawn, moved)
    )
    assert (after < before).all()
    assert moved.images.min() >= 0 and moved.images.max() <= 1
    new = images(2, 32, seed=3)
    for step, replaced in ((0, 0), (5, 1)):
        renewed = drawn_pictures.replace_one(moved, np.int32(step), new[0], new[1])
        kept = 1 - replaced
        np.testing.assert_array_equal(renewed.images[replaced], new[0])
        np.testing.assert_array_equal(renewed.styles[replaced], new[1])
        np.testing.assert_array_equal(renewed.images[kept], moved.images[kept])
        moments = jax.tree.leaves(renewed.opt_state)
        assert all(not np.any(moment[replaced]) for moment in moments)
        assert any(np.any(moment[kept]) for moment in moments)


def test_a_stopped_training_resumes_bit_for_bit_and_the_network_loads(
    standard_promotion, teacher, tmp_path, monkeypatch
):
    whole = distillation.train_features(config(teacher), tmp_path / "whole")
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    weights = registry.load(f"distilled:{whole}", student.LAYERS).weights
    assert list(weights) == list(vgg.kernel_shapes("distilled", student.LAYERS))
    assert whole.stat().st_size <= 1.2e6

    save = checkpoint.Checkpoints.save_later

    def save_and_stop(self, step, state, loss):
        save(self, step, state, loss)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.Checkpoints, "save_later", save_and_stop)
        distillation.train_features(config(teacher), tmp_path / "stopped")
    with pytest.raises(UserError, match="continue that run with --resume"):
        distillation.train_features(config(teacher), tmp_path / "stopped")
    with locked(tmp_path / "stopped"), pytest.raises(UserError, match="is in use by process"):
        distillation.train_features(config(teacher), tmp_path / "stopped", resume=True)
    resumed = distillation.train_features(config(teacher), tmp_path / "stopped", resume=True)
    arrays = [safetensors_file.read(path)[0] for path in (whole, resumed)]
    assert leaf_digests(arrays[0]) == leaf_digests(arrays[1])


def test_the_student_learns_to_predict_its_teacher(standard_promotion, teacher, tmp_path):
    """From one batch, always the same."""
    changes = {
        "data.content": "procedural:1", "data.style": "procedural:1", "data.max_scale": 1.2,
        "optimizer.steps": 40, "optimizer.warmup": 2,
    }  # fmt: skip
    distillation.train_features(config(teacher, **changes), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for name in ("features", "drawn gram"):
        first, last = (np.mean([r[name] for r in part]) for part in (records[:3], records[-3:]))
        assert last < 0.5 * first, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "resnet"}, "unknown feature network 'resnet'"),
        ({"teacher": "vgg16:none.safetensors"}, "there is no file none.safetensors"),
        ({"data.style": "nowhere"}, "the style folder nowhere does not exist"),
        ({"batch.styles": 0}, "config.batch.styles must be between 1 and 1e+12, got 0"),
        ({"optimizer.steps": 0}, "config.optimizer.steps must be between 1 and 1e+12, got 0"),
        ({"batch.distorted": 99}, "config.batch.distorted=99 is more than the"),
        ({"architecture": "vgg16"}, "give one of distilled, distilled-wide"),
    ],
)
def test_mistakes_are_one_sentence(teacher, tmp_path, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        distillation.train_features(config(**{"teacher": teacher, **changes}), tmp_path / "out")


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        commands.main(
            ["train-features", "--config=configs/smoke.py", f"--workdir={tmp_path / 'out'}"]
        )
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "start from configs/distilled_features.py" in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()
