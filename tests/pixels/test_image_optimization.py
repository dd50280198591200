"""Optimization of pixels: each picture on its own, gradients, balance, resuming, the command."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.data.images import read_image
from metastyle_jax.data.resizing import resample
from metastyle_jax.errors import exit_cleanly
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.pixels import image_optimization, optimization_run

pytestmark = pytest.mark.usefixtures("standard_promotion")

LAYERS = ("relu1_2", "relu2_1")
OBJECTIVE = perceptual.Objective(
    content_layers=("relu2_1",),
    style_layers=LAYERS,
    style_weight=1.0,
    normalize=True,
)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(tiny.images(*shape, seed=seed), np.float32)


def network():
    return tiny.feature_network(LAYERS, pooling="average", dtype=np.float32)


def settings(**changes) -> image_optimization.OptimizationSettings:
    objective = dataclasses.replace(OBJECTIVE, style_loss=fusion.parse(changes.pop("loss", "gram")))
    return image_optimization.OptimizationSettings(objective, **{"steps": 8, **changes})


def run(how, contents, styles, **options):
    targets = image_optimization.make_targets(how.objective, network(), contents, styles)
    losses = []
    state = image_optimization.optimize(
        image_optimization.start(contents, how),
        targets,
        network(),
        how,
        on_call=lambda state, metrics, seconds: losses.append(metrics["loss"]),
        **options,
    )
    return np.asarray(state.images), np.asarray(losses)


@pytest.mark.parametrize(
    "optimizer, rate, loss", [("adam", 0.02, "gaussian(1)"), ("lbfgs", 1.0, "0.5*bn + 0.5*linear")]
)
def test_pictures_of_one_program_are_optimized_each_on_its_own(optimizer, rate, loss):
    contents, styles = images(2, 16, 20), list(images(2, 12, 16, seed=1))
    how = settings(optimizer=optimizer, learning_rate=rate, loss=loss)
    together, losses = run(how, contents, styles)
    if "gaussian" not in loss:  # which scatters from step to step
        assert (losses[-1] < losses[0]).all()
    assert together.min() >= 0 and together.max() <= 1
    for n in range(2):
        alone, _ = run(how, contents[n : n + 1], styles[n : n + 1])
        np.testing.assert_allclose(together[n], alone[0], atol=2e-3)


def test_lbfgs_descends_faster_than_adam():
    contents, styles = images(1, 16, 16), [images(1, 16, 16, seed=1)[0]]
    ends = {}
    for optimizer, rate in (("adam", 0.02), ("lbfgs", 1.0)):
        how = settings(optimizer=optimizer, learning_rate=rate, steps=30)
        ends[optimizer] = float(run(how, contents, styles)[1][-1, 0])
    assert ends["lbfgs"] < ends["adam"]


def test_several_steps_in_one_call_are_the_same_steps():
    loss = "gaussian(1)"
    contents, styles = images(1, 16, 16), [images(1, 16, 16, seed=1)[0]]
    one, _ = run(settings(loss=loss, steps=5, steps_per_call=1), contents, styles)
    several, losses = run(settings(loss=loss, steps=5, steps_per_call=3), contents, styles)
    assert len(losses) == 3  # one, which compiles; three; one
    np.testing.assert_allclose(several, one, atol=1e-4)


def test_calls_end_where_something_is_written():
    contents, styles = images(1, 16, 16), [images(1, 16, 16, seed=1)[0]]
    how, reached = settings(steps=24, steps_per_call=7), []
    image_optimization.optimize(
        image_optimization.start(contents, how),
        image_optimization.make_targets(how.objective, network(), contents, styles),
        network(),
        how,
        on_call=lambda state, metrics, seconds: reached.append((state.step, seconds > 0)),
        every=(10, 12),
    )
    assert reached[0] == (1, False) and all(timed for _, timed in reached[1:])
    assert [step for step, _ in reached] == [1, 8, 10, 12, 19, 20, 24]


def test_random_losses_draw_anew_at_every_step_but_not_for_lbfgs():
    contents, styles = images(1, 16, 16), [images(1, 16, 16, seed=1)[0]]
    for optimizer, anew in (("adam", True), ("lbfgs", False)):
        how = settings(loss="gaussian(1)", optimizer=optimizer, learning_rate=1e-9, steps=3)
        _, losses = run(how, contents, styles)
        assert (np.ptp(losses) > 1e-4) == anew


def test_weights_are_per_picture_and_per_layer():
    contents, styles = images(2, 16, 16), list(images(2, 16, 16, seed=1))
    targets = image_optimization.make_targets(OBJECTIVE, network(), contents, styles)
    weighed = image_optimization.weigh(
        targets,
        contents=np.asarray([0.0, 2.0]),
        styles={"relu1_2": np.asarray([3.0, 0.0]), "relu2_1": 0},
    )
    outputs = images(2, 16, 16, seed=2)
    loss = jax.jit(functools.partial(perceptual.perceptual_loss, OBJECTIVE, network()))
    (_, plain), (_, parts) = loss(outputs, *targets), loss(outputs, *weighed)
    np.testing.assert_allclose(parts["content"], [0, 2 * plain["content"][1]], rtol=1e-6)
    first = dataclasses.replace(OBJECTIVE, style_layers=("relu1_2",))
    _, only = jax.jit(functools.partial(perceptual.perceptual_loss, first, network()))(
        outputs, *targets
    )
    np.testing.assert_allclose(parts["style"], [3 * only["style"][0], 0], rtol=1e-6)


@pytest.mark.parametrize("loss", ["poly(0.5)", "gaussian(1)"])
def test_balanced_gradients_are_equal(loss):
    contents, styles = images(2, 16, 16), list(images(2, 16, 16, seed=1))
    objective = dataclasses.replace(OBJECTIVE, style_loss=fusion.parse(loss))
    targets = image_optimization.make_targets(objective, network(), contents, styles)
    beta = image_optimization.balance(objective, network(), contents, targets, seed=4)
    balanced = image_optimization.weigh(targets, styles=beta)
    hidden = (contents + image_optimization.gaussian_noise(contents.shape, 4)) / 2

    features, key = network(), jax.random.key(4)

    def parts(x):
        _, terms = perceptual.perceptual_loss(objective, features, x, *balanced, key)
        return terms["content"].sum(), terms["style"].sum()

    slopes = jax.jit(jax.jacrev(parts))(hidden)
    norms = [np.linalg.norm(slope.reshape(2, -1), axis=1) for slope in slopes]
    np.testing.assert_allclose(*norms, rtol=1e-4)


def test_a_loss_that_is_not_finite_says_so(capsys):
    contents = np.full((1, 16, 16, 3), np.nan, np.float32)
    with pytest.raises(SystemExit), exit_cleanly():
        run(settings(), contents, [contents[0]])
    assert "the loss is not finite at step 1" in capsys.readouterr().err


@pytest.fixture
def pictures(tmp_path):
    for name, shape, seed in (("a", (16, 24), 0), ("b", (16, 24), 1), ("s", (20, 16), 2)):
        pixels = (255 * images(1, *shape, seed=seed)[0]).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def command(folder, *flags: str) -> list[str]:
    layers = ["--style-layers=relu1_2,relu2_1", "--content-layers=relu2_1"]
    files = ["--content", str(folder / "a.png"), str(folder / "b.png")]
    return ["optimize", *files, "--style", str(folder / "s.png"), *layers, "--sizes=16", *flags]


def test_the_command_goes_from_coarse_to_fine_and_writes_everything(pictures, capsys):
    out = pictures / "out"
    flags = ("--sizes=16,20", "--steps=3,4", "--preview-every=2", "--loss=0.5*bn+gaussian(1)")
    commands.main(command(pictures, f"--out={out}", *flags))
    for name in ("a_s", "b_s"):
        assert read_image(out / "images" / f"{name}.png").shape == (20, 30, 3)
    assert len(list((out / "previews").iterdir())) == 4
    assert read_image(out / "previews" / "a_s_16_00002.png").shape == (16, 24, 3)
    report = json.loads((out / "report.json").read_text())
    assert report["loss"] == "0.5*bn + 1.0*gaussian(1.0)"
    assert [entry["name"] for entry in report["pictures"]] == ["a_s", "b_s"]
    for entry in report["pictures"]:
        assert entry["steps"] == 4 and entry["balance"] > 0 and entry["loss"] > 0
    assert "20 px, 2 pictures: step 4/4 loss" in capsys.readouterr().out
    assert (out / "sheet.png").exists()


@pytest.mark.parametrize("loss, stop_at", [("gram", 2), ("gram", 5)])
def test_an_interrupted_run_continues_bit_for_bit(pictures, monkeypatch, loss, stop_at):
    flags = ("--sizes=16,20", "--steps=3", f"--loss={loss}", "--preview-every=0")
    commands.main(command(pictures, f"--out={pictures / 'whole'}", *flags))
    taken, step = [], image_optimization._take_steps

    def interrupted(*arguments, **keywords):
        if len(taken) == stop_at:
            raise KeyboardInterrupt
        taken.append(1)
        return step(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(image_optimization, "_take_steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            commands.main(command(pictures, f"--out={pictures / 'parts'}", *flags))
    assert not (pictures / "parts" / "images").exists()
    counted = []
    monkeypatch.setattr(
        image_optimization, "_take_steps", lambda *a, **k: counted.append(1) or step(*a, **k)
    )
    commands.main(command(pictures, f"--out={pictures / 'parts'}", *flags, "--resume"))
    assert len(counted) == 6 - stop_at
    for name in ("a_s.png", "b_s.png"):
        whole, parts = (read_image(pictures / run / "images" / name) for run in ("whole", "parts"))
        np.testing.assert_array_equal(whole, parts)


def test_a_run_with_other_flags_is_not_continued(pictures, capsys):
    """The message names the flag with both values."""
    out, a, s = f"--out={pictures / 'out'}", pictures / "a.png", pictures / "s.png"
    commands.main(command(pictures, out, "--steps=2"))
    for flags, message in [
        (["--gamma=7"], "--gamma is 5.0 there and 7.0 now"),
        (["--learning-rate=0.1"], "--learning-rate is the default there and 0.1 now"),
        (["--sizes=16,20"], "--sizes is 16 there and 16,20 now"),
        (["--steps=1"], "--steps is 2 there and 1 now"),
        (["--style", str(a)], f"content and style are {a} and {s} there and {a} and {a} now"),
    ]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught, exit_cleanly():
            commands.main(command(pictures, out, "--steps=2", *flags, "--resume"))
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"other flags or pictures: {message}; continue with those" in line


@pytest.mark.parametrize("before, count", [("--steps=1,2", 2), ("--steps=1,3", 1)])
def test_more_steps_go_on_where_the_run_had_ended(pictures, monkeypatch, before, count):
    """To what a run of as many steps gives."""
    flags = ("--sizes=16,20", "--preview-every=0")
    commands.main(command(pictures, f"--out={pictures / 'whole'}", *flags, "--steps=1,4"))
    commands.main(command(pictures, f"--out={pictures / 'parts'}", *flags, before))
    counted, step = [], image_optimization._take_steps
    monkeypatch.setattr(
        image_optimization, "_take_steps", lambda *a, **k: counted.append(1) or step(*a, **k)
    )
    again = command(pictures, f"--out={pictures / 'parts'}", *flags, "--steps=1,4", "--resume")
    commands.main(again)
    assert len(counted) == count
    for name in ("a_s.png", "b_s.png"):
        whole, parts = (read_image(pictures / run / "images" / name) for run in ("whole", "parts"))
        np.testing.assert_array_equal(whole, parts)


def test_a_finished_run_that_is_continued_keeps_its_figures(pictures, monkeypatch):
    flags = (f"--out={pictures / 'out'}", "--sizes=16,20", "--steps=2", "--batch=1")
    commands.main(command(pictures, *flags))
    before = json.loads((pictures / "out" / "report.json").read_text())
    assert [set(row) >= {"loss", "balance", "steps"} for row in before["pictures"]] == [True] * 2
    monkeypatch.setattr(image_optimization, "_take_steps", lambda *_, **__: 1 / 0)
    commands.main(command(pictures, *flags, "--resume"))
    assert json.loads((pictures / "out" / "report.json").read_text()) == before


def test_a_run_that_stopped_before_a_step_of_a_size_goes_on_with_more_steps(pictures, monkeypatch):
    flags = ("--sizes=16,20", "--preview-every=0")
    commands.main(command(pictures, f"--out={pictures / 'whole'}", *flags, "--steps=3"))
    out, step = f"--out={pictures / 'parts'}", image_optimization._take_steps

    def stopped(images, *arguments):
        if min(images.shape[1:3]) == 20:
            raise KeyboardInterrupt
        return step(images, *arguments)

    monkeypatch.setattr(image_optimization, "_take_steps", stopped)
    for _ in range(2):  # the second one finds what the first one left
        with pytest.raises(KeyboardInterrupt):
            commands.main(command(pictures, out, *flags, "--steps=2", "--resume"))
    monkeypatch.setattr(image_optimization, "_take_steps", step)
    commands.main(command(pictures, out, *flags, "--steps=3", "--resume"))
    for name in ("a_s.png", "b_s.png"):
        whole, parts = (read_image(pictures / run / "images" / name) for run in ("whole", "parts"))
        np.testing.assert_array_equal(whole, parts)


def test_starts_and_pairs(pictures):
    """Pictures that hardly move show where they started."""
    out = pictures / "out"
    styles = ["--style", str(pictures / "s.png"), str(pictures / "b.png")]
    ends = {}
    for start, batch in (("content", 2), ("noise", 4), (str(pictures / "s.png"), 1)):
        flags = (f"--out={out}", "--steps=1", f"--start={start}", f"--batch={batch}")
        commands.main([*command(pictures, *flags, "--learning-rate=1e-9"), *styles])
        names = {path.name for path in (out / "images").iterdir()}
        assert names == {"a_s.png", "b_b.png"}
        ends[start] = read_image(out / "images" / "a_s.png")
    content, style = (read_image(pictures / name) for name in ("a.png", "s.png"))
    np.testing.assert_allclose(ends["content"], content, atol=0.01)
    resized = resample(style, 16, 24)
    np.testing.assert_allclose(ends[str(pictures / "s.png")], resized, atol=0.01)
    noise = ends["noise"]
    assert abs(np.corrcoef(noise.ravel(), content.ravel())[0, 1]) < 0.2 and noise.std() > 0.1


@pytest.mark.parametrize(
    "flags, fragments",
    [
        (["--loss=gramm"], ["--loss", "'gramm'", "sliced_wasserstein"]),
        (["--loss=gaussian(0)"], ["--loss", "bandwidth", "positive"]),
        (["--loss=0*bn"], ["--loss", "weight of bn"]),
        (["--loss=1e999*gram"], ["--loss", "weight of gram"]),
        (["--loss=gaussian(1,nan)"], ["--loss", "bandwidth", "nan"]),
        (["--loss=poly(inf)"], ["--loss", "constant of poly"]),
        (["--style-layers=relu1_2,relu1_2"], ["--style-layers", "'relu1_2' is named twice"]),
        (["--style-layer-weights=1,nan"], ["--style-layer-weights", "positive"]),
        (["--style-layers=relu1_9"], ["--style-layers", "relu1_9", "relu1_1, relu1_2"]),
        (["--content-layers=conv1_1"], ["--content-layers", "conv1_1"]),
        (["--features=vgg99"], ["--features", "vgg99", "vgg16"]),
        (["--style-layer-weights=1"], ["--style-layer-weights=1.0", "each of the 2"]),
        (["--style-layer-weights=1,-1"], ["--style-layer-weights", "positive"]),
        (["--gamma=0"], ["--gamma must be more than 0", "got 0.0"]),
        (["--sizes=8"], ["--sizes", "16"]),
        (["--steps=1,2,3"], ["--steps"]),
        (["--learning-rate=-1"], ["--learning-rate"]),
        (["--batch=0"], ["--batch must be between 1", "got 0"]),
        (["--style-scale=0.06"], ["s.png", "1 pixels", "too small for relu2_1"]),
        (["--content=nowhere.jpg"], ["nowhere.jpg", "no such file"]),
        (["--content=https://example.org/a.jpg"], ["https://example.org/a.jpg", "download"]),
        (["--style=nowhere/*.bmp"], ["no file matches"]),
        (["--start=nowhere.jpg"], ["nowhere.jpg", "no such file"]),
        (["--style", "a", "b", "c"], ["2 contents and 3 styles"]),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(pictures, capsys, flags, fragments):
    out = pictures / "out"
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main([*command(pictures, f"--out={out}", "--steps=1"), *flags])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fragment in line for fragment in fragments), line
    assert not out.exists()


def test_folders_of_contents_go_on_after_a_picture_that_is_bad(pictures, capsys):
    folder, out = pictures / "contents", pictures / "out"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (pictures / name).rename(folder / name)
    (folder / "bad.png").write_text("no picture")
    (folder / "notes.txt").touch()
    flags = (f"--out={out}", "--steps=1", "--preview-every=0", "--content", str(folder))
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(command(pictures, *flags))
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert "1 of 3 pictures" in said.err and f"{folder / 'bad.png'}: this is not" in said.err
    assert "skipped 1 file" in said.err and "notes.txt" in said.err
    assert f"{folder / 'a.png'}, {pictures / 's.png'} -> {out / 'images' / 'a_s.png'}" in said.out
    assert {path.name for path in (out / "images").iterdir()} == {"a_s.png", "b_s.png"}
    assert len(json.loads((out / "report.json").read_text())["pictures"]) == 2


def test_an_input_is_not_written_over(pictures, capsys):
    out = pictures / "out"
    for flags, file in (
        (["--start"], out / "images" / "a_s.png"),
        (["--content", str(pictures / "b.png")], out / "sheet.png"),
        (["--style", str(pictures / "s.png")], out / "previews" / "a_s_16_00002.png"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        before = (pictures / "b.png").read_bytes()
        file.write_bytes(before)
        with pytest.raises(SystemExit) as caught, exit_cleanly():
            more = ["--steps=3", "--preview-every=2", *flags, str(file)]
            commands.main(command(pictures, f"--out={out}", *more))
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{file} would be written over" in line and "another --out" in line
        assert [path for path in out.rglob("*") if path.is_file()] == [file]
        assert file.read_bytes() == before
        file.unlink()


def test_a_group_that_does_not_fit_into_memory_is_a_sentence(pictures, monkeypatch, capsys):
    run_group = optimization_run.run

    def limited(schedule, group, *arguments, **keywords):
        if group.names == ["a_s"]:
            raise MemoryError
        return run_group(schedule, group, *arguments, **keywords)

    monkeypatch.setattr(optimization_run, "run", limited)
    flags = (f"--out={pictures / 'out'}", "--steps=1", "--preview-every=0", "--batch=1")
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(command(pictures, *flags))
    assert caught.value.code == 1
    assert "a.png: there is not enough memory" in capsys.readouterr().err
    assert {path.name for path in (pictures / "out" / "images").iterdir()} == {"b_s.png"}


def test_a_result_whose_name_would_be_too_long_is_a_failure_from_the_start(pictures, capsys):
    content = (pictures / "a.png").rename(pictures / f"{'x' * 245}.png")
    flags = (f"--out={pictures / 'out'}", "--steps=200", "--content", str(content))
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(command(pictures, *flags))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "name too long; choose a shorter name" in line
    assert not (pictures / "out").exists()
