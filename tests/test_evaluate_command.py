"""The evaluation: its numbers against the losses themselves, its files, resuming, mistakes."""

from __future__ import annotations

import csv
import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax import cli, fusion, objective, transformer
from metastyle_jax.data.images import read_image
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.export import style_file
from metastyle_jax.study import evaluation_report, gallery, judging, methods
from metastyle_jax.stylization import stylize_image

GOAL = objective.Objective(
    architecture="compact",
    content_layers=("relu2_1",),
    style_layers=("relu1_2", "relu2_1"),
    style_weight=3.0,
    normalize=True,
)


def images(count: int, seed: int) -> np.ndarray:
    return np.asarray(tiny.images(count, 20, 24, seed=seed), np.float32)


def judge(goal=GOAL) -> judging.Judge:
    features = jax.tree.map(lambda x: np.asarray(x, np.float32), tiny.feature_weights(goal.layers))
    return judging.Judge(goal, features, None)


def test_a_judge_with_features_of_its_own_does_not_depend_on_the_training():
    goal, _ = judging.relative_objective("compact", 3.5)
    assert goal.style_layers == ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    assert (goal.pooling, goal.style_weight, goal.normalize) == ("average", 3.5, True)


@pytest.mark.parametrize("loss", ["gram", "gaussian(1)"])
def test_the_judge_finds_the_losses_of_the_objective(quick_compile, loss):
    by = judge(dataclasses.replace(GOAL, style_loss=fusion.parse(loss)))
    outputs, contents, style = images(5, 0), images(5, 1), images(1, 2)[0]
    found = judging.judge(by, outputs, contents, style)
    expected = {"content": [], "style": [], "style relu1_2": [], "style relu2_1": []}
    for output, content in zip(outputs, contents, strict=True):
        for name in expected:
            layers = (name.removeprefix("style "),) if " " in name else GOAL.style_layers
            # random losses draw by the number of a layer
            goal = dataclasses.replace(by.goal, style_layers=layers)
            if loss != "gram" and " " in name:
                continue
            targets = (
                objective.content_targets(goal, by.features, content[None]),
                objective.style_targets(goal, by.features, style[None]),
            )
            parts = objective.perceptual_loss(
                goal, by.features, output[None], *targets, jax.random.key(0)
            )[1]
            expected[name].append(float(parts[name.partition(" ")[0]][0]))
    for name, values in expected.items():
        if values:
            assert found[name] == pytest.approx(np.mean(values), rel=1e-4)
    assert found["style relu1_2"] + found["style relu2_1"] == pytest.approx(
        found["style"], rel=1e-4
    )
    assert np.isnan(found["lpips"]) and 0 < found["ssim"] < 1 and found["cfsd"] > 0


def test_contents_unchanged_have_no_content_loss(quick_compile):
    contents = images(2, 1)
    found = judging.judge(judge(), contents, contents, images(1, 2)[0])
    assert (found["content"], found["ssim"]) == pytest.approx((0, 1), abs=1e-6)
    assert found["loss"] == pytest.approx(found["style"], rel=1e-5)


def test_means_are_over_the_styles_that_have_a_row():
    rows = [
        {"style image": style, "method": "norm", "step": step, "loss": loss, "own loss": loss + 1}
        for style, step, loss in (("a", 0, 1.0), ("b", 0, 3.0), ("a", 5, 7.0))
    ]
    means = evaluation_report.over_styles(rows)
    assert all(np.isnan(row.pop(name)) for row in means for name in evaluation_report.SHARES)
    assert means == [
        {"method": "norm", "step": 0, "styles": 2, "loss": 2.0, "own loss": 3.0},
        {"method": "norm", "step": 5, "styles": 1, "loss": 7.0, "own loss": 8.0},
    ]
    assert evaluation_report.last_steps(rows) == [("norm", 0), ("norm", 5)]


def test_losses_in_units_of_scratch_are_over_the_styles_trained_from_scratch():
    rows = [
        {"style image": style, "method": method, "step": step, "loss": loss, "own loss": loss**2}
        for style, method, step, loss in (
            ("a", "norm", 5, 3.0),
            ("b", "norm", 5, 6.0),
            ("c", "norm", 5, 100.0),  # has no scratch
            ("a", "all", 5, 1.0),  # lacks b
            ("a", "scratch", 0, 50.0),
            ("b", "scratch", 0, 10.0),
            ("a", "scratch", 9, 2.0),
            ("b", "scratch", 9, 4.0),
        )
    ]
    found = {
        (row["method"], row["step"]): (row["of scratch"], row["own of scratch"])
        for row in evaluation_report.over_styles(rows)
    }
    assert np.isnan(found.pop(("all", 5))).all()
    own = (9 + 36) / (4 + 16), (2500 + 100) / (4 + 16)
    assert found == {
        ("norm", 5): (1.5, own[0]),
        ("scratch", 0): (10.0, own[1]),
        ("scratch", 9): (1.0, 1.0),
    }


def test_pictures_are_the_middle_of_the_enlarged_picture(tmp_path):
    ramp = np.linspace(0, 255, 128).astype(np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (128, 128, 3))
    Image.fromarray(pixels).save(tmp_path / "ramp.png")
    asked = gallery.Evaluation(size=32, scale=2.0)
    names, (picture,) = gallery._squares(str(tmp_path), 1, asked)
    assert names == ["ramp"] and picture.shape == (32, 32, 3)
    # half of the ramp, at half of its resolution: columns 32, 34, ... 94
    expected = (2 * np.arange(32) + 32.5) / 127
    np.testing.assert_allclose(picture[16, 1:-1, 0], expected[1:-1], atol=0.01)


@pytest.fixture
def folders(tmp_path):
    for name, count in (("styles", 2), ("contents", 3)):
        (tmp_path / name).mkdir()
        for n in range(count):
            pixels = (255 * images(1, 7 * count + n)[0]).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{name}{n}.png")
    params = jax.tree.map(
        lambda x: np.asarray(x, np.float32), tiny.parameters(width=2, residual_blocks=1)
    )
    path = tmp_path / "params.safetensors"
    style_file.save_params(path, params, settings={"features.network": "compact"}, command="")
    return tmp_path


def test_a_strange_judge_does_not_replace_the_training_s_own(folders, quick_compile):
    asked = gallery.Evaluation(
        init=(str(folders / "params.safetensors"),),
        styles=str(folders / "styles"),
        contents=str(folders / "contents"),
        features="compact",
        style_weight=7.0,
        size=32,
    )
    found = gallery.load(asked, folders / "out")
    assert (found.by.goal.style_weight, found.own.goal.style_weight) == (7.0, 5.0)
    assert found.own.goal.style_layers == found.candidates[0].goal.style_layers
    row = methods.copies(found, 0)[0]
    for by, name in ((found.by, "loss"), (found.own, "own loss")):
        alone = judging.judge(by, found.contents, found.contents, found.styles[0])["loss"]
        assert row[name] == pytest.approx(alone, rel=1e-6)
    assert row["loss"] != pytest.approx(row["own loss"], rel=0.01)


def command(folder, *flags: str) -> list[str]:
    paths = [f"--{name}={folder / name}" for name in ("styles", "contents", "out")]
    sizes = ["--size=32", "--at=0,1,2", "--scratch-at=0,2", "--pixel-steps=2", "--pixel-contents=2"]
    return ["evaluate", f"--init={folder / 'params.safetensors'}", *paths, *sizes, *flags]


def test_the_command_writes_table_curves_and_sheet_and_goes_on(
    folders, quick_compile, standard_promotion, monkeypatch
):
    flags = ("--style-count=2", "--content-count=2", "--bound-styles=1")
    cli.main(command(folders, *flags))
    rows = list(csv.DictReader((folders / "out" / "evaluation.csv").open()))
    per_style = {"content unchanged": 1, "style unchanged": 1, "params norm": 3, "params all": 3}
    for number, more in (("0", {"scratch": 2, "pixels": 1}), ("1", {})):
        found = [row["method"] for row in rows if row["style image"] == f"styles{number}"]
        assert {name: found.count(name) for name in found} == {**per_style, **more}
    assert {row["lpips"] for row in rows} == {"nan"}
    # no other judge was asked for, so that the training's own is the judge
    assert all(row["own loss"] == row["loss"] for row in rows)
    unchanged = [row for row in rows if row["method"] == "content unchanged"]
    assert all(float(row["ssim"]) == pytest.approx(1) for row in unchanged)
    text = (folders / "out" / "evaluation.md").read_text()
    assert "no files were given" in text and "| scratch | 2 | 1 | 1 | 1 |" in text
    assert Image.open(folders / "out" / "curves.png").width > 500
    sheet = np.asarray(Image.open(folders / "out" / "sheet.png"))
    # content, style, start, norm, all, scratch, pixels: the last two for the first style only
    painted = [
        [sheet[-row * 196 + 98, 98 + column * 196].min() < 255 for column in range(7)]
        for row in (2, 1)
    ]
    assert painted == [[True] * 7, [True] * 5 + [False] * 2]
    # what was measured is not measured again; another initialisation shares copies and bounds
    measured = []
    judge = methods.judge
    monkeypatch.setattr(methods, "judge", lambda *a: measured.append(a) or judge(*a))
    cli.main(command(folders, *flags))
    assert not measured
    other = tiny.parameters(width=2, residual_blocks=1, seed=1)
    other = jax.tree.map(lambda x: np.asarray(x, np.float32), other)
    path = folders / "other.safetensors"
    noisy = {"features.network": "compact", "data.noise": 0.1}
    style_file.save_params(path, other, settings=noisy, command="")
    both = f"--init={folders / 'params.safetensors'},{path}"
    cli.main([*command(folders, *flags), both, "--moves=norm"])
    # but not one of another network, since that from scratch would be another one too
    blurred = {**other, "weights": transformer.with_blur(other["weights"], True)}
    path = folders / "blurred.safetensors"
    style_file.save_params(path, blurred, settings={"features.network": "compact"}, command="")
    with pytest.raises(UserError, match="holds measurements with network="):
        cli.main([*command(folders, *flags), f"--init={path}"])
    assert len(measured) == 6  # once each: the judge is the training's own
    rows = list(csv.DictReader((folders / "out" / "evaluation.csv").open()))
    assert [row["step"] for row in rows if row["method"] == "other norm"] == ["0", "1", "2"] * 2
    # with the noise of its training
    begins = f"{folders / 'out' / 'images' / rows[0]['style image']}_"
    content, drawn = (
        read_image(f"{begins}{name}_0000.png") for name in ("content_unchanged", "other_norm")
    )
    close = [
        np.abs(drawn - stylize_image(other, content, noise)).max() < 0.02 for noise in (0.1, 0)
    ]
    assert close == [True, False]


@pytest.mark.parametrize(
    "flags, fragments",
    [
        (["--styles="], ["--styles is missing"]),
        (["--lpips-network=x"], ["--lpips-heads"]),
        (["--size=8"], ["--size=8", "32"]),
        (["--at=0"], ["--at needs steps"]),
        (["--init=nowhere"], ["nowhere"]),
        (["--init=embedded,embedded"], ["two initialisations embedded"]),
        (["--moves=half"], ["--moves=half"]),
        (["--norm-rate=0"], ["--norm-rate=0"]),
        (["--features=vgg16:nowhere.safetensors"], ["nowhere.safetensors"]),
        (["--lpips-network=x", "--lpips-heads=y"], ["no file y"]),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(folders, capsys, flags, fragments):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        cli.main(command(folders, *flags))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fragment in line for fragment in fragments)
    assert not (folders / "out").exists()
