"""Training of the compact features: losses by hand, teachers against torch, resuming, mistakes."""

from __future__ import annotations

import json
import re

import jax
import numpy as np
import pytest
import safetensors.numpy

import tiny
from configs import compact_features
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.features import registry
from metastyle_jax.features.training import (
    compressed_vgg,
    distillation,
    squeezenet,
    student,
    teachers,
)
from metastyle_jax.networks import vgg
from metastyle_jax.storage import checkpoint, safetensors_file
from metastyle_jax.storage.digest import leaf_digests
from metastyle_jax.storage.folder_lock import locked

WIDTHS = {"0": 3, "1": 16, "2": 32, "3": 64, "4": 128}  # of the blocks of the compressed VGG


def compressed_weights(seed: int = 0) -> dict[str, np.ndarray]:
    random, weights, before = np.random.default_rng(seed), {}, 3
    for key in compressed_vgg.keys():  # noqa: SIM118
        conv, part = key.split(".")
        width = WIDTHS[conv[4]]
        if part == "weight":
            size = 1 if conv == "conv0" else 3
            values = random.standard_normal((width, before, size, size))
            values *= np.sqrt(2 / (before * size**2))
            before = width
        else:
            values = 0.1 * random.standard_normal(width)
        weights[key] = values.astype(np.float32)
    return weights


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.asarray(tiny.images(count, size, size, seed=seed), np.float32)


def config(**changes):
    small = {
        "data.content": "procedural:4",
        "data.style": "procedural:4",
        "data.image_size": 32,
        "batch.styles": 2,
        "batch.contents": 1,
        "optimizer.steps": 6,
        "log.every": 1,
        "checkpoint.every": 2,
    }
    config = compact_features.get_config()
    config.update_from_flattened_dict(small | changes)
    return config


def test_compressed_vgg_equals_that_of_torch(torch_reference):
    weights, x = compressed_weights(), images(2, 24)
    expected = torch_reference.compressed_vgg(weights, x)
    for ours, theirs in zip(compressed_vgg.features(weights, x), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_contrast_by_hand():
    """Four crops of two pictures; one layer whose Gram matrices are outer products."""
    columns = np.array([[1, 0], [0.8, 0.6], [0, 1], [1, 0.1]], np.float32)
    features = {"relu1_2": np.tile(columns[:, None, None], (1, 3, 2, 1))}
    unit = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    # the cosine of x x^T and y y^T is that of x and y, squared
    logits = 7.0 * (unit @ unit.T) ** 2
    np.fill_diagonal(logits, -np.inf)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -np.mean([log_softmax[i, j] for i, j in ((0, 1), (1, 0), (2, 3), (3, 2))])
    found, matched = student.contrast(features, np.log(np.float32(7.0)))
    assert found == pytest.approx(expected, rel=1e-5)
    # a fifth crop that is distorted is one more to be mistaken for, and looks for no partner
    five = {"relu1_2": np.concatenate([features["relu1_2"], features["relu1_2"][:1] * 2])}
    worse, _ = student.contrast(five, np.log(np.float32(7.0)), distorted=1)
    extra = np.concatenate([logits, logits[:, :1]], axis=1)
    extra[0, 4] = 7.0
    extra[1:, 4] = 7.0 * (unit[1:] @ unit[0]) ** 2
    log_softmax = extra - np.log(np.exp(extra).sum(axis=1, keepdims=True))
    expected = -np.mean([log_softmax[i, j] for i, j in ((0, 1), (1, 0), (2, 3), (3, 2))])
    assert worse == pytest.approx(expected, rel=1e-5)
    nearest = logits.argmax(axis=1)
    assert matched == np.mean(nearest == [1, 0, 3, 2])


def test_perfect_heads_have_no_regression_loss():
    """Targets that are a linear function of the student's own features can be met exactly."""
    heads = {"one.0": ("relu1_2", 5), "one.1": ("relu2_2", 2), "two.0": ("relu3_3", 3)}
    params = student.init(jax.random.key(0), heads)
    random = np.random.default_rng(1)
    params["heads"] = jax.tree.map(
        lambda x: random.standard_normal(x.shape).astype(np.float32), params["heads"]
    )
    x = images(4, 16)
    seen = student.features(params["network"], x)
    targets = {
        name: seen[layer] @ params["heads"][name]["kernel"]
        + params["heads"][name]["bias"][None, None, None]
        for name, (layer, _) in heads.items()
    }

    def metrics(targets):
        return student.loss(params, x, targets, heads, {}, contrast_weight=0.5)

    total, parts = metrics(targets)
    assert parts["teacher one"] == pytest.approx(0, abs=1e-6)
    assert total == pytest.approx(0.5 * float(parts["contrast"]), rel=1e-5)
    # channels that are copied have an error of their own
    first = {"three.0": seen["relu1_2"][..., :4] + 2}
    _, copies = student.loss(params, x, first, {}, {"three.0": "relu1_2"}, contrast_weight=0.0)
    assert copies["teacher three"] == pytest.approx(4, rel=1e-5)
    # an error of 1 everywhere in one of two targets is half an error of that teacher
    targets["one.1"] = targets["one.1"] + 1
    assert metrics(targets)[1]["teacher one"] == pytest.approx(0.5, rel=1e-5)
    assert metrics(targets)[1]["teacher two"] == pytest.approx(0, abs=1e-6)


def test_copied_targets_have_deviation_1_and_fit_into_the_student():
    weights, x = {"cd16x": compressed_weights()}, images(3, 32)
    for part in ("weight", "bias"):
        weights["cd16x"][f"conv34.{part}"][:7] = 0  # dead channels
    found = teachers.targets(weights, x, teachers.measure(weights, x))
    assert found["cd16x.2"].shape[-1] <= WIDTHS["3"] - 7
    assert teachers.heads(weights) == {}
    assert found.keys() == teachers.copied(weights).keys()
    for name, target in found.items():
        assert target.shape[-1] <= vgg.width("compact", teachers.copied(weights)[name])
        assert target.min() >= 0
        deviation = np.asarray(target.std(axis=(0, 1, 2)))
        raw = compressed_vgg.features(weights["cd16x"], x)[int(name[-1])].std(axis=(0, 1, 2))
        raw = np.asarray(raw)[np.asarray(raw) > teachers.DEAD]
        np.testing.assert_allclose(deviation, raw / (raw + teachers.DEAD), rtol=1e-3)
    assert len(teachers.NETWORKS["squeezenet"].layers) == squeezenet.TAPS


def test_balancing_changes_nothing_but_the_scale_of_a_layer():
    params = student.init(jax.random.key(1), {})
    network = jax.tree.map(lambda x: x + 0.01, params["network"])  # biases too
    x = images(2, 32)
    before = student.features(network, x)
    after = student.features(student.balanced(network, x), x)
    for layer in student.LAYERS:
        assert after[layer].mean() == pytest.approx(1, rel=1e-4)
        factor = 1 / before[layer].mean()
        np.testing.assert_allclose(after[layer], factor * before[layer], rtol=2e-3, atol=1e-4)


def test_a_stopped_training_resumes_bit_for_bit_and_the_network_loads(
    standard_promotion, tmp_path, monkeypatch
):
    whole = distillation.train_features(config(), tmp_path / "whole")
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    weights = registry.load(f"compact:{whole}", student.LAYERS).weights
    assert list(weights) == list(vgg.needed_convs("compact", student.LAYERS))
    assert whole.stat().st_size <= 1.2e6

    save = checkpoint.Checkpoints.save_later

    def save_and_stop(self, step, state, loss):
        save(self, step, state, loss)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint.Checkpoints, "save_later", save_and_stop)
        distillation.train_features(config(), tmp_path / "stopped")
    with pytest.raises(UserError, match="continue that run with --resume"):
        distillation.train_features(config(), tmp_path / "stopped")
    with locked(tmp_path / "stopped"), pytest.raises(UserError, match="is in use by process"):
        distillation.train_features(config(), tmp_path / "stopped", resume=True)
    resumed = distillation.train_features(config(), tmp_path / "stopped", resume=True)
    arrays = [safetensors_file.read(path)[0] for path in (whole, resumed)]
    assert leaf_digests(arrays[0]) == leaf_digests(arrays[1])


def test_the_student_learns_to_tell_pictures_apart(standard_promotion, tmp_path, capsys):
    """From one batch, always the same: the contrast must fall far below chance."""
    changes = {
        "data.content": "procedural:1", "data.style": "procedural:3", "data.max_scale": 1.2,
        "batch.styles": 3, "optimizer.steps": 25, "optimizer.warmup": 2, "contrast_weight": 1.0,
    }  # fmt: skip
    distillation.train_features(config(**changes), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first, last = (np.mean([r["contrast"] for r in part]) for part in (records[:3], records[-3:]))
    assert last < 0.5 * first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": ("resnet:a",)}, r"config.teachers: 'resnet:a' is unknown: use squeezenet:"),
        ({"teachers": ("cd16x",)}, r"config.teachers: 'cd16x' names no file: write cd16x:FILE"),
        ({"teachers": ("cd16x:none.safetensors",)}, "there is no file none.safetensors"),
        ({"data.style": "nowhere"}, "the style folder nowhere does not exist"),
        ({"batch.styles": 0}, "config.batch.styles must be between 1 and 1e+12, got 0"),
        ({"optimizer.steps": 0}, "config.optimizer.steps must be between 1 and 1e+12, got 0"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        distillation.train_features(config(**changes), tmp_path / "out")


def test_a_file_of_another_network_is_no_teacher(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"conv0.weight": np.zeros(1, np.float32)}, path)
    with pytest.raises(UserError, match=r"is no cd16x file: it has no array conv0\.bias"):
        teachers.load([f"cd16x:{path}"])


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        commands.main(
            ["train-features", "--config=configs/smoke.py", f"--workdir={tmp_path / 'out'}"]
        )
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "start from configs/compact_features.py" in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()
