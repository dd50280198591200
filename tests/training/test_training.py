"""Whole trainings of a shrunken default configuration: stopped, killed, damaged, resumed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import train
from configs import default
from metastyle_jax.cli import commands
from metastyle_jax.data.folder import FolderSource
from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.structures import MetaParameters
from metastyle_jax.networks import stylization_network, vgg
from metastyle_jax.runtime import interrupts, sharding
from metastyle_jax.settings import configuration, construction, resuming, schema
from metastyle_jax.storage import checkpoint, checkpoint_reading, initialization
from metastyle_jax.storage.digest import leaf_digests
from metastyle_jax.storage.folder_lock import locked
from metastyle_jax.training import meta_training, training_advice, training_pictures
from processes import QUICK_COMPILE, ROOT

TINY = {
    "data.content": "procedural:6",
    "data.style": "procedural:6",
    "data.image_size": 24,
    "data.threads": 0,
    "batch.styles": 2,
    "batch.contents": 1,
    "model.width": 4,
    "model.residual_blocks": 1,
    "features.network": "compact",
    "objective.content_layers": ("relu1_2",),
    "objective.style_layers": ("relu1_1", "relu1_2"),
    "objective.style_weight": 1.0,
    "objective.normalize": True,
    "inner.learning_rate": 1e-2,
    "outer.learning_rate": 1e-3,
    "outer.steps": 6,
    "parallel.devices": 1,
    "log.every": 1,
    "log.sheet_every": 0,
    "checkpoint.every": 2,
}

NO_PART = ("log.", "checkpoint.", "outer.steps", "data.content", "data.style", "data.threads")

pytestmark = pytest.mark.usefixtures("standard_promotion")


def tiny_config(**changes):
    config = default.get_config()
    config.update_from_flattened_dict(
        {**TINY, **{k.replace("__", "."): v for k, v in changes.items()}}
    )
    return config


@pytest.fixture(autouse=True, scope="module")
def one_program_for_one_configuration():
    """The step of a configuration is compiled once, not by every training that this file runs."""
    wrap, programs = meta_training.wrap_steps, {}

    def wrap_once(config, optimizer, devices):
        # the length of a run is no part of its program
        flat = {k: v for k, v in schema.flatten(config).items() if not k.startswith(NO_PART)}
        key = json.dumps(flat, sort_keys=True)
        if key not in programs:
            programs[key] = wrap(config, optimizer, devices)
        return programs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_training, "wrap_steps", wrap_once)
        yield


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    with jax.numpy_dtype_promotion("standard"):
        state = meta_training.train(tiny_config(log__sheet_every=6), workdir)
    return workdir, state


def test_writes_what_it_promises(uninterrupted):
    workdir, state = uninterrupted
    assert int(state.step) == 6
    assert steps_in(workdir) == [1, 2, 3, 4, 5, 6]
    assert json.loads((workdir / "config.json").read_text())["model.width"] == 4
    assert list((workdir / "tensorboard").iterdir())
    with Image.open(workdir / "sheets" / "step_0000006.png") as sheet:
        assert sheet.width > 4 * 24
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"inner_loss_0", "outer_loss", "steps_per_second", "images_per_second"} <= set(last)
    assert all(np.isfinite(value) for value in last.values())


def test_all_parameters_move(uninterrupted):
    _, state = uninterrupted
    start = stylization_network.init(jax.random.key(0), width=4, residual_blocks=1)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), start, state.params.network)
    assert min(jax.tree.leaves(moved)) > 0


def test_resumed_in_process_equals_uninterrupted(uninterrupted, tmp_path):
    _, expected = uninterrupted
    meta_training.train(tiny_config(outer__steps=3), tmp_path)
    found = meta_training.train(tiny_config(), tmp_path, resume=True)
    assert leaf_digests(jax.device_get(found)) == leaf_digests(jax.device_get(expected))
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    uninterrupted, tmp_path, caplog
):
    _, expected = uninterrupted
    meta_training.train(tiny_config(outer__steps=4), tmp_path)
    newest = tmp_path / checkpoint_reading.DIRECTORY_NAME / "4"
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    found = meta_training.train(tiny_config(), tmp_path, resume=True)
    assert "4 is damaged" in caplog.text
    assert leaf_digests(jax.device_get(found)) == leaf_digests(jax.device_get(expected))


def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    config = tiny_config(outer__steps=40)
    meta_training.train(tiny_config(outer__steps=2), tmp_path)
    state, _ = _restore(config, tmp_path)
    # finite numbers whose sums are not
    weights = dict(state.params.weights)
    weights["conv1"] = jax.tree.map(lambda leaf: np.full_like(leaf, 3e38), weights["conv1"])
    _overwrite(config, tmp_path, state.replace(params=state.params.replace(weights=weights)))
    with pytest.raises(
        UserError, match="inner_loss_0 is nan at step 3; the checkpoint of step 2"
    ) as (error):
        meta_training.train(config, tmp_path, resume=True)
    assert (
        "lower config.outer.learning_rate (now 0.001) or set config.outer.clip (now 0, none)"
        in str(error.value)
    )
    _, record = checkpoint_reading.read_params(tmp_path)
    assert record["step"] == 2
    # the command that it leaves repeats it
    left = json.loads((tmp_path / "not_finite.json").read_text())
    assert (left["step"], left["metric"]) == (3, "inner_loss_0")
    assert str(tmp_path / "not_finite.json") in str(error.value)
    with pytest.raises(UserError) as again:
        commands.main(shlex.split(left["command"])[1:])
    assert str(again.value) == str(error.value)
    # where it cannot be written, the loss is still said
    (tmp_path / "not_finite.json").unlink()
    (tmp_path / "not_finite.json").mkdir()
    with pytest.raises(UserError, match=r"inner_loss_0 is nan at step 3.*cannot write .*json"):
        commands.main(shlex.split(left["command"])[1:])


def test_pictures_in_device_memory_train_and_resume_bit_for_bit(tmp_path):
    changes = {"data__cache": "device", "data__max_scale": 1.5}
    whole = meta_training.train(tiny_config(outer__steps=4, **changes), tmp_path / "whole")
    meta_training.train(tiny_config(outer__steps=2, **changes), tmp_path / "run")
    found = meta_training.train(
        tiny_config(outer__steps=4, **changes), tmp_path / "run", resume=True
    )
    assert leaf_digests(jax.device_get(found)) == leaf_digests(jax.device_get(whole))
    last = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["input_wait"] <= 1 and last["outer_loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["", "device"])
def test_a_run_goes_on_with_another_number_of_devices(tmp_path, cache):
    changes = {"data__cache": cache, "outer__steps": 4}
    meta_training.train(tiny_config(**changes), tmp_path / "one")
    changes["outer__steps"] = 2
    meta_training.train(tiny_config(**changes), tmp_path / "run")
    changes |= {"outer__steps": 4, "parallel__devices": 2}
    found = meta_training.train(tiny_config(**changes), tmp_path / "run", resume=True)
    assert len(found.params.weights["conv1"]["kernel"].sharding.device_set) == 2
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "run")
    )
    for name in ("outer_loss", "inner_loss_0", "gradient_norm_weights"):
        values = [[record[name] for record in records] for records in (one, two)]
        np.testing.assert_allclose(*values, rtol=1e-4)


def test_pictures_that_do_not_fit_are_refused_before_one_is_read(monkeypatch):
    class Small:
        process_index = 0

        def memory_stats(self):
            return {"bytes_limit": 10_000}

    class Unreadable:
        def __len__(self):
            return 6

    with pytest.raises(UserError, match=r"cache=device needs 0\.0 GB on each device, which has 0"):
        training_pictures.cache(
            configuration.read(tiny_config(data__cache="device")),
            {"content": Unreadable(), "style": Unreadable()},
            [Small(), Small()],
            None,
        )


def _restore(config, workdir):
    optimizer = construction.make_outer_optimizer(config)
    network = stylization_network.init(jax.random.key(0), width=4, residual_blocks=1)
    params = MetaParameters(**network)
    with _checkpoints(config, workdir) as checkpoints:
        return checkpoints.restore_latest(outer_step.init_state(params, optimizer), {})


def _overwrite(config, workdir, state):
    shutil.rmtree(workdir / checkpoint_reading.DIRECTORY_NAME)
    with _checkpoints(config, workdir) as checkpoints:
        checkpoints.save(2, state)


def _checkpoints(config, workdir):
    return checkpoint.Checkpoints(
        workdir / checkpoint_reading.DIRECTORY_NAME, configuration=schema.flatten(config)
    )


@pytest.mark.parametrize(
    "first, then, setting",
    [
        ({}, {"model__width": 8}, r"model\.width is 4 there and 8 now"),
        ({}, {"model__predictor": 4}, r"model\.predictor is 0 there and 4 now"),
        ({}, {"inner__learned_rates": "one"}, r"inner\.learned_rates is '' there and 'one' now"),
    ],
)
def test_what_shapes_the_state_cannot_change(uninterrupted, first, then, setting):
    workdir, _ = uninterrupted
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(UserError, match=setting):
        meta_training.train(tiny_config(**first, **then), workdir, resume=True)
    assert (workdir / "config.json").read_bytes() == before


def test_all_else_may_change_and_one_line_says_what_does(tmp_path, capsys):
    """Clipping too, though it gives the optimizer's state another form."""
    meta_training.train(tiny_config(outer__steps=2), tmp_path)
    changes = {"outer__learning_rate": 0.0, "outer__clip": 1.0, "outer__last_layer_rate": 0.5}
    changes |= {"objective__style_weight": 2.0, "inner__learning_rate": 0.5, "seed": 3}
    before, _ = _restore(tiny_config(), tmp_path)
    capsys.readouterr()
    state = meta_training.train(tiny_config(outer__steps=3, **changes), tmp_path, resume=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("other than")]
    assert "outer.steps 2 -> 3" in line and "the data come in another order" in line
    for part in ("outer.clip 0 -> 1", "inner.learning_rate 0.01 -> 0.5", "seed 0 -> 3"):
        assert part in line
    # it is the state that was saved: at a rate of 0 the parameters stay, Adam's count goes on
    assert leaf_digests(jax.device_get(state.params)) == leaf_digests(jax.device_get(before.params))
    counts = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == ()]
    assert [int(count) for count in counts] == [3, 3]
    assert json.loads((tmp_path / "config.json").read_text())["outer.clip"] == 1.0
    _, record = checkpoint_reading.read_params(tmp_path)
    assert record["configuration"]["inner.learning_rate"] == 0.5
    # and back: without clipping the state is that of before
    meta_training.train(tiny_config(outer__steps=4), tmp_path, resume=True)


def photographs(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_data_that_moved_are_the_same_data(tmp_path, capsys, monkeypatch):
    """Bit for bit; and other data are said to be others."""
    monkeypatch.chdir(tmp_path)
    photographs(Path("data"))
    whole = meta_training.train(tiny_config(data__content="data", outer__steps=4), "whole")
    meta_training.train(tiny_config(data__content="data", outer__steps=2), "run")
    Path("data").rename("moved")
    capsys.readouterr()
    config = tiny_config(data__content="./moved/", outer__steps=4)
    found = meta_training.train(config, "run", resume=True)
    assert leaf_digests(jax.device_get(found)) == leaf_digests(jax.device_get(whole))
    assert "data.content" not in capsys.readouterr().out
    Image.new("RGB", (40, 40)).save("moved/more.png")
    config.outer.steps = 5
    meta_training.train(config, "run", resume=True)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("other than")]
    assert "data.content 'moved (3 files " in line and "-> 'moved (4 files " in line
    assert "the data come in another order" in line


@pytest.mark.parametrize(
    "before, now, expected",
    [
        # checkpoints of earlier versions have no files
        (
            {"data.content": "data1"},
            {"data.content": "./data1/", "files.content": "3 files a"},
            None,
        ),
        (
            {"data.content": "a"},
            {"data.content": "b", "files.content": "3 files a"},
            "data.content 'a' -> 'b'; the data come in another order",
        ),
        ({}, {"data.noise": 0.0}, "data.noise not set -> 0"),
        ({}, {"data.cache": ""}, None),
        ({}, {"data.cache": "device"}, "-> 'device'; the data come in another order"),
        ({}, {"cpu.convolutions": {"winograd_channels": 64}}, None),
        (
            {"cpu.convolutions": {"winograd_channels": 64}},
            {"cpu.convolutions": {"winograd_channels": 32}},
            "cpu.convolutions {'winograd_channels': 64} -> {'winograd_channels': 32}",
        ),
        (
            {"features.network": "compact", "features.pooling": ""},
            {"features.network": "compact", "features.pooling": vgg.POOLING["compact"]},
            None,
        ),
        (
            {"data.content": "tfds:a:train"},
            {"data.content": "tfds:a:test"},
            "data.content 'tfds:a:train' -> 'tfds:a:test'; the data",
        ),
    ],
)
def test_what_a_resumed_run_says(before, now, expected):
    line = resuming.notice(before, now)
    assert line is expected or expected in line


def test_a_second_training_leaves_the_first_one_alone(uninterrupted, tmp_path):
    """It used to empty the records before it failed."""
    workdir, _ = uninterrupted
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with locked(workdir):
        for resume in (False, True):
            with pytest.raises(UserError, match=f"in use by process {os.getpid()} "):
                meta_training.train(tiny_config(outer__steps=9), workdir, resume=resume)
    after = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    assert before == after


def test_starts_from_an_earlier_training(uninterrupted, tmp_path):
    workdir, before = uninterrupted
    changes = {"model__init": str(workdir), "outer__steps": 1, "outer__learning_rate": 0.0}
    state = meta_training.train(tiny_config(**changes), tmp_path / "run")
    assert leaf_digests(jax.device_get(state.params)) == leaf_digests(jax.device_get(before.params))
    assert int(state.step) == 1
    with pytest.raises(UserError, match=r"config.model.init='.*' is another network: change"):
        meta_training.train(tiny_config(model__width=8, **changes), tmp_path / "other")
    assert not list((tmp_path / "other").glob("checkpoints/*"))


def test_trains_with_predicted_styles(tmp_path):
    """The sheet is drawn too; the shipped style goes after the predictions."""
    changes = {"model__predictor": 5, "inner__steps": 0, "outer__steps": 2, "log__sheet_every": 2}
    first = tmp_path / "first"
    state = meta_training.train(tiny_config(**changes), first)
    assert set(state.params.parts()) == {"weights", "style", "predictor"}
    last = json.loads((first / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["prediction_distance"] >= 0 and last["gradient_norm_predictor"] > 0
    assert initialization.load(str(first)).params.keys() == {"weights", "style"}
    # a training that begins with it takes the predictor over, where it fits
    changes |= {"model__init": str(first), "outer__steps": 1, "log__sheet_every": 0}
    changes["outer__learning_rate"] = 0.0
    again = meta_training.train(tiny_config(**changes), tmp_path / "second")
    assert leaf_digests(jax.device_get(again.params)) == leaf_digests(jax.device_get(state.params))
    changes["model__predictor"] = 6
    wider = meta_training.train(tiny_config(**changes), tmp_path / "third")
    assert wider.params.predictor["hidden"]["bias"].shape == (6,)
    # the new predictor begins at the style that was learned
    learned = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params.style)])
    np.testing.assert_array_equal(wider.params.predictor["output"]["bias"], learned)
    new = construction.init_params(tiny_config(**changes), jax.random.key(0)).style
    assert not np.array_equal(learned, np.concatenate(jax.tree.leaves(new)))
    weights = (leaf_digests(jax.device_get(each.params.weights)) for each in (wider, state))
    assert len({json.dumps(digests, sort_keys=True, default=str) for digests in weights}) == 1


@pytest.mark.slow
def test_begins_with_kernels_of_a_training_without_blur(tmp_path):
    changes = {"outer__learning_rate": 0.0, "outer__steps": 1}
    first = meta_training.train(tiny_config(**changes), tmp_path / "first")
    changes |= {"model__init": str(tmp_path / "first"), "model__blur": True}
    second = meta_training.train(tiny_config(**changes), tmp_path / "second")
    kernels = [state.params.weights for state in (first, second)]
    np.testing.assert_array_equal(kernels[0]["up1"]["kernel"], kernels[1]["up1_blur"]["kernel"])
    loaded = initialization.load(str(tmp_path / "second")).params["weights"]
    assert stylization_network.architecture(loaded)["blur"]
    # to go on, what it began with is not needed any more
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    changes["outer__steps"] = 2
    resumed = meta_training.train(tiny_config(**changes), tmp_path / "second", resume=True)
    assert int(resumed.step) == 2
    with pytest.raises(UserError, match="there is no initialization"):
        meta_training.train(tiny_config(**changes), tmp_path / "third", resume=True)


def test_gradients_of_zero_are_told_once(tmp_path, capsys):
    changes = {"objective__content_weight": 0.0, "objective__style_weight": 0.0}
    meta_training.train(tiny_config(outer__steps=3, log__every=2, **changes), tmp_path)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning")]
    assert "step 1: all gradients are exactly 0" in line and "style_weight are both 0" in line
    records = [json.loads(each) for each in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert [len(record.get("warnings", ())) for record in records] == [1, 0, 0]


def signs_of(losses, styles=None, inner=None, **changes):
    """[step] of each warning about these outer losses."""
    told = []
    signs = training_advice.Signs(tiny_config(**changes), lambda step, *rest: told.append(step))
    for number, loss in enumerate(losses):
        style = loss if styles is None else styles[number]
        metrics = {"outer_loss": loss, "outer_style": style, "gradient_norm_style": 1.0}
        if inner is not None:
            metrics["inner_loss_0"] = inner
        signs.look(number + 1, metrics)
    return told


def test_a_loss_far_above_its_start_is_told_once():
    assert signs_of([1.0, *[50.0] * 30]) == [11]
    # inner steps that go too far do so from the first outer step on
    assert signs_of([50.0] * 30, inner=1.0) == [10]
    assert signs_of([50.0] * 30, inner=60.0) == []
    assert signs_of([1.0, *[9.0] * 30]) == []
    # one easy picture in ten is no divergence
    assert signs_of([1.0, *([50.0] * 9 + [5.0]) * 5]) == []
    # while its weight rises the loss of the style rises with it: 0.1 of the content, 5 in full
    rising = [5.0 * min(1.0, step / 100) for step in range(200)]
    assert signs_of([0.1 + x for x in rising], rising, outer__style_warmup=100) == []
    grown = [x if step < 120 else 100 * x for step, x in enumerate(rising)]
    assert signs_of([0.1 + x for x in grown], grown, outer__style_warmup=100) == [130]


def test_scattered_losses_are_no_divergence():
    """One run of 100,000 steps in fifty, says `training_advice`: here of 2,000 in hardly any."""
    random = np.random.default_rng(0)
    told = [bool(signs_of(np.exp(random.normal(size=2000)))) for _ in range(50)]
    assert sum(told) <= 2


@pytest.mark.parametrize(
    "name, step, advice",
    [
        ("inner_loss_0", 7, "lower config.outer.learning_rate (now 0.001)"),
        ("inner_loss_0", 1, "lower config.objective.style_weight (now 1)"),
        ("inner_loss_1", 7, "lower config.inner.learning_rate (now 0.01) or set config.inner.clip"),
        ("outer_style", 1, "lower config.inner.learning_rate (now 0.01) or set config.inner.clip"),
        ("gradient_norm_style", 1, "lower config.inner.learning_rate (now 0.01) or config.objec"),
    ],
)
def test_advice_follows_what_came_first(name, step, advice):
    text = training_advice.not_finite(tiny_config())(name, step)
    assert advice in text and text.endswith("go on with --resume")


def test_a_used_workdir_needs_resume(uninterrupted):
    workdir, _ = uninterrupted
    with pytest.raises(UserError, match="continue that run with --resume"):
        meta_training.train(tiny_config(), workdir)


def test_broken_images_are_skipped_counted_and_listed(tmp_path, capsys):
    folder = tmp_path / "photographs"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    for index in range(4):
        Image.fromarray(pixels).save(folder / f"good{index}.jpg", quality=95)
    whole = (folder / "good0.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not a picture")
    config = tiny_config(data__content=str(folder), outer__steps=4)
    meta_training.train(config, tmp_path / "run")
    listed = (tmp_path / "run" / "skipped_images.txt").read_text()
    assert "truncated.jpg" in listed and "text.png" in listed
    assert "skipped 2 of 6 files" in capsys.readouterr().err


def test_a_skipped_picture_may_have_a_name_that_is_not_utf_8(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    source = FolderSource(tmp_path, "content folder")
    source.skipped = {Path(os.fsdecode(b"caf\xe9.png")): "no picture"}
    # pytest could not send what is logged from process to process
    monkeypatch.setattr(source, "report", lambda: "one was skipped")
    training_pictures.list_skipped(tmp_path, {"content": source})
    listed = (tmp_path / "skipped_images.txt").read_text(encoding="utf-8")
    assert listed == "caf\\udce9.png\tno picture\n"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data__content": "/no/such/folder"}, "/no/such/folder"),
        ({"batch__styles": 3, "parallel__devices": 2}, r"batch\.styles=3"),
        ({"parallel__devices": 99}, r"parallel\.devices=99"),
        ({"outer__estimator": "second"}, r"outer\.estimator='second' is unknown: use one of exact"),
        ({"objective__style_layers": ("relu9_9",)}, "relu9_9"),
        ({"features__network": "alexnet"}, "alexnet"),
        ({"data__image_size": 8}, r"data\.image_size must be between 16 and .* got 8"),
        ({"data__noise": 1.5}, r"config\.data\.noise must be between 0 and 1, got 1\.5"),
        (
            {"inner__learning_rate": float("nan")},
            r"inner\.learning_rate must be between .* got nan",
        ),
        (
            {"objective__style_weight": 1e30},
            r"objective\.style_weight must be between .* got 1e\+30",
        ),
        ({"inner__subset": "style/nothing*"}, r"inner\.subset: no parameter is called 'style/noth"),
        ({"inner__learned_rates": "each"}, r"inner\.learned_rates='each' is unknown"),
        ({"model__predictor": 4, "inner__subset": "all"}, r"config\.model\.predictor predicts all"),
        (
            {"outer__implicit_damping": 0.0},
            r"outer\.implicit_damping must be more than 0 .* got 0\.0",
        ),
        (
            {"outer__estimator": "reptile", "outer__multi_step": 5},
            r"outer\.multi_step=5 has no effect with config\.outer\.estimator='reptile'",
        ),
        (
            {"outer__estimator": "truncated", "inner__random_steps": True},
            r"inner\.random_steps with config\.outer\.estimator='truncated'",
        ),
        (
            {"inner__steps": 0, "inner__learned_rates": "layer_step"},
            r"inner\.learned_rates='layer_step' has no effect with config\.inner\.steps=0",
        ),
        (
            {"inner__steps": 0, "outer__multi_step": 5},
            r"outer\.multi_step=5 has no effect with config\.inner\.steps=0",
        ),
        (
            {"inner__steps": 0, "outer__estimator": "reptile"},
            r"outer\.estimator='reptile' has no effect with config\.inner\.steps=0",
        ),
        ({"outer__subset": "inner_rates/*"}, r"outer\.subset: no parameter is called 'inner_rates"),
    ],
)
def test_unusable_settings_name_themselves(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        meta_training.train(tiny_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_outer_loop_may_move_the_learned_rates_alone():
    config = tiny_config(inner__learned_rates="layer", outer__subset="inner_rates/*")
    assert configuration.read(config).outer.subset == "inner_rates/*"


@pytest.mark.parametrize(
    "section, name", [("data", "noise"), ("data", "min_scale"), ("model", "blur")]
)
def test_a_configuration_that_lacks_a_setting_is_told_which(section, name, tmp_path):
    config = tiny_config()
    del config[section][name]
    with pytest.raises(UserError, match=rf"has no {section}\.{name}: start from configs/default"):
        meta_training.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_trains_with_every_inner_option_at_once(tmp_path):
    """And the first step, first order, gives what a run of first order alone gives."""
    config = tiny_config(
        inner__steps=2,
        inner__optimizer="momentum",
        inner__clip=0.1,
        inner__learned_rates="layer_step",
        inner__random_steps=True,
        inner__subset="style/*",
        outer__first_order_steps=1,
        outer__multi_step=2,
        outer__steps=2,
        log__sheet_every=2,
    )
    state = meta_training.train(config, tmp_path / "run")
    rates = np.stack(jax.tree.leaves(state.params.inner_rates))
    assert rates.shape[1] == 2
    assert np.isfinite(rates).all()
    assert (rates != 1).any()
    assert initialization.load(str(tmp_path / "run")).params.keys() == {"weights", "style"}
    config.outer.estimator, config.outer.steps = "first_order", 1
    config.log.sheet_every = 0
    meta_training.train(config, tmp_path / "first")
    first, alone = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])
        for name in ("run", "first")
    )
    assert first["gradient_norm_style"] == alone["gradient_norm_style"]


def command(workdir: Path, *extra: str) -> list[str]:
    overrides = [f"--config.{name}={value}" for name, value in {**TINY, "outer.steps": 40}.items()]
    config = f"--config={ROOT / 'configs' / 'default.py'}"
    return [
        sys.executable,
        str(ROOT / "train.py"),
        config,
        f"--workdir={workdir}",
        *overrides,
        *extra,
    ]


def wait_for_checkpoint(process: subprocess.Popen, workdir: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if any((workdir / checkpoint_reading.DIRECTORY_NAME).glob("[0-9]*/record.json")):
            return
        time.sleep(0.05)
    pytest.fail(f"no checkpoint was written; exit code {process.poll()}")


def wait_for_line(process: subprocess.Popen, beginning: str) -> None:
    """Read the output of a process up to a line that begins so."""
    assert any(line.startswith(beginning) for line in process.stdout), "the process has ended"


@pytest.mark.slow
def test_killed_and_interrupted_runs_resume_bit_for_bit(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **QUICK_COMPILE}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run = {"env": environment, "capture_output": True, "text": True}
    first = subprocess.Popen(command(stopped), env=environment)
    wait_for_checkpoint(first, stopped)
    first.kill()
    first.wait()
    second = subprocess.Popen(
        command(stopped, "--resume"),
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for_line(second, "step ")
    second.send_signal(signal.SIGINT)
    assert second.wait(240) in (0, 130)  # 0: it was faster than the signal
    third = subprocess.run(command(stopped, "--resume"), **run)
    assert third.returncode == 0, third.stderr
    fourth = subprocess.run(command(whole), **run)
    assert fourth.returncode == 0, fourth.stderr
    records = [checkpoint_reading.read_params(path)[1] for path in (whole, stopped)]
    assert records[0]["step"] == records[1]["step"] == 40
    # digests of every array of the state, Adam's moments included
    assert records[0]["arrays"] == records[1]["arrays"]


def test_an_interrupted_set_up_ends_with_130(tmp_path):
    """Threads of XLA and Orbax are at work then: the interpreter's teardown used to crash."""
    process = subprocess.Popen(
        command(tmp_path / "run"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for_line(process, "style:")
    process.send_signal(signal.SIGINT)
    assert process.wait(240) == 130


@pytest.fixture
def stop_in_set_up(monkeypatch):
    """An interrupt that is raised within a destructor, say, reaches nobody."""
    load = meta_training.load_task

    def swallowing(*arguments):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return load(*arguments)

    monkeypatch.setattr(meta_training, "load_task", swallowing)


@pytest.mark.usefixtures("stop_in_set_up")
def test_a_stop_that_the_set_up_swallows_ends_the_run_after_its_first_step(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        meta_training.train(tiny_config(outer__steps=3, log__sheet_every=1), tmp_path)
    assert "stopped after step 1" in capsys.readouterr().err
    assert (tmp_path / checkpoint_reading.DIRECTORY_NAME / "1").is_dir()
    # a resumed run begins with step 2, so what was due at step 1 is there now
    assert (tmp_path / "sheets" / "step_0000001.png").is_file()


@pytest.mark.usefixtures("stop_in_set_up")
def test_a_stop_in_the_last_step_ends_a_run_that_is_finished(tmp_path, capsys):
    state = meta_training.train(tiny_config(outer__steps=1, log__sheet_every=5), tmp_path)
    assert int(state.step) == 1
    assert "--resume" not in capsys.readouterr().err
    assert (tmp_path / "sheets" / "step_0000001.png").is_file()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config.inner.stepz=3"], "stepz"),
        (["--config.inner.steps=three"], "inner.steps"),
        (["--wokdir=x"], "wokdir"),
        (["inner.steps=3"], "inner.steps=3"),
        (["--config.batch.styles=3", "--config.parallel.devices=2"], "batch.styles=3"),
    ],
)
def test_mistakes_on_the_command_line_are_one_sentence(arguments, message, tmp_path, capfd):
    with pytest.raises(SystemExit) as stopped:
        train.main(command(tmp_path / "run", *arguments)[1:])
    assert stopped.value.code == 2
    text = capfd.readouterr().err
    assert message in text
    assert len(text.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


class Metric:
    """A number on a device that notes when somebody waits for it."""

    def __init__(self, events: list[str], step: int) -> None:
        self.events, self.step = events, step

    def __array__(self, *arguments, **options) -> np.ndarray:
        self.events.append(f"wait for {self.step}")
        return np.zeros(())


class StepNumber(int):
    """The number of a step that is never done when somebody asks."""

    def is_ready(self) -> bool:
        return False


def loop_events(tmp_path: Path, total: int, log_every: int) -> list[str]:
    """What the loop does in which order, around a step that does nothing."""
    events: list[str] = []
    config = tiny_config(outer__steps=total, log__every=log_every, checkpoint__every=1000)
    names = ("outer_loss", "outer_content", "outer_style")
    names += ("gradient_norm_weights", "gradient_norm_style")

    def step(state, batch, features):
        number = int(state.step) + 1
        events.append(f"run {number}")
        metrics = dict.fromkeys(names, 0.0) | {"inner_loss_0": Metric(events, number)}
        return state.replace(step=StepNumber(number)), metrics

    def place_batch(batch, stop):
        assert not stop
        events.append("place")
        return batch

    def same(tree):
        return tree

    wrapped = sharding.Parallel(step, same, place_batch, lambda s, b: ((0, s), (0, b)), same)
    checkpoints = types.SimpleNamespace(
        save_later=lambda *arguments: None, wait=lambda: None, steps=list
    )
    state = outer_step.TrainState(step=StepNumber(0), params=None, opt_state=None)
    sources = training_pictures.open_sources(config)
    meta_training._loop(
        config,
        tmp_path,
        (wrapped, wrapped),
        state,
        None,
        sources,
        checkpoints,
        None,
        interrupts.StopRequests(),
    )
    return events


def test_the_loop_waits_for_a_step_only_once_the_next_one_is_running(tmp_path):
    """But for the first, which compiles, and the last; and where metrics are logged."""
    events = loop_events(tmp_path / "quiet", total=5, log_every=1000)
    assert events == [
        *("place", "run 1", "wait for 1"),
        *("place", "run 2"),
        *("place", "run 3", "wait for 2"),
        *("place", "run 4", "wait for 3"),
        *("place", "run 5", "wait for 4", "wait for 5"),
    ]
    logged = loop_events(tmp_path / "logged", total=5, log_every=3)
    assert logged[:9] == [*events[:7], "wait for 2", "wait for 3"]
