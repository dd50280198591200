"""`study diversity`: its numbers by hand, a tiny study, and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.data.images import read_image, write_png
from metastyle_jax.errors import UserError
from metastyle_jax.evaluation import judging, lpips
from metastyle_jax.features import registry
from metastyle_jax.losses import style_losses
from metastyle_jax.losses.perceptual import Objective
from metastyle_jax.storage import style_file
from metastyle_jax.studies.adjustable import diversity_report, drawing_variations
from metastyle_jax.studies.adjustable.drawing_variations import IN_TRAINING, WHEN_DRAWING, Method
from metastyle_jax.stylization import dark_spots, variations
from metastyle_jax.stylization.loading import load

LAYERS = ("relu1_1", "relu2_2")
SETTINGS = {
    "features.network": "compact",
    "objective.style_layers": list(LAYERS),
    "objective.content_layers": ["relu2_2"],
    "objective.style_weight": 3.0,
    "objective.normalize": False,
    "objective.average_decay": 0.9,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An adjustable network and a plain one, a style image, two contents, LPIPS at random."""
    weights = tiny.lpips_weights("alexnet")
    monkeypatch.setattr(lpips, "at_hand", lambda name: True)
    monkeypatch.setattr(lpips, "load", lambda name: weights)
    params = tiny.adjustable_parameters()
    style_file.save_params(tmp_path / "model.safetensors", params, settings=SETTINGS)
    del params["adjuster"]
    style_file.save_params(tmp_path / "plain.safetensors", params, settings=SETTINGS)
    for number, name in enumerate(("style.png", "contents/a.png", "contents/b.png")):
        write_png(tmp_path / name, np.asarray(tiny.images(1, 32, 32, seed=number)[0]))
    return tmp_path


def study(folder, *flags: str, model: str = "model.safetensors") -> None:
    commands.main(
        [
            "study",
            "diversity",
            f"--model={folder / model}",
            f"--style={folder / 'style.png'}",
            f"--contents={folder / 'contents'}",
            f"--out={folder / 'out'}",
            *("--size=32", "--style-size=32", "--variations=3", "--deviations=0.1,0.3", *flags),
        ]
    )


def entries(folder) -> dict[str, list[dict]]:
    return json.loads((folder / "out" / "measurements.json").read_text())["entries"]


def losses(drawn: np.ndarray, content: np.ndarray, style: np.ndarray) -> dict[str, float]:
    """Of one drawing, from the features up; relative, for the training had moving averages."""
    network = registry.load("compact", LAYERS)
    seen, clean, wanted = (network.extract(x[None], LAYERS) for x in (drawn, content, style))
    difference = np.square(seen["relu2_2"] - clean["relu2_2"]).mean()
    errors = {"content loss": difference / np.square(clean["relu2_2"]).mean()}
    for layer in LAYERS:
        ours, theirs = (style_losses.gram.statistics(x[layer]) for x in (seen, wanted))
        errors[f"style {layer}"] = np.square(ours - theirs).mean() / np.square(theirs).mean()
    return {name: float(error) for name, error in errors.items()}


def test_rows_are_those_of_what_the_stylizer_draws(folder):
    study(folder)
    measured = entries(folder)
    assert list(measured) == [
        drawing_variations.PLAIN,
        "random weights",
        "content noise",
        "both",
        "parameter noise, 0.1",
        "parameter noise, 0.3",
    ]
    model = load(folder / "model.safetensors")
    style, content = (read_image(folder / name) for name in ("style.png", "contents/b.png"))
    for name, content_noise, at_one in (
        ("random weights", False, False),
        ("content noise", True, True),
        ("both", True, False),
    ):
        drawn = []
        for each in variations.draw(model, 3, content_noise=content_noise):
            seen = content * dark_spots.mask(each.spots, 32, 32)[..., None]
            drawn.append(model.at({} if at_one else each.alpha).draw(seen))
        row = measured[name][1]
        assert row["content"] == "b"
        pairs = [
            float(lpips.distance(lpips.load("alexnet"), x[None], y[None])[0])
            for x, y in ((drawn[0], drawn[1]), (drawn[0], drawn[2]), (drawn[1], drawn[2]))
        ]
        assert row["diversity"] == pytest.approx(np.mean(pairs), rel=1e-3)
        each = [losses(picture, content, style) for picture in drawn]
        for key in each[0]:
            assert row[key] == pytest.approx(np.mean([x[key] for x in each]), rel=1e-3)


def test_a_table_a_csv_and_a_sheet(folder):
    study(folder, f"--noisy={folder / 'plain.safetensors'}")
    with (folder / "out" / "diversity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 9
    plain = rows[:2]
    assert [row["content"] for row in plain] == ["a", "b"]
    assert {row["diversity"] for row in plain} == {"0.0"}
    for key in ("style", "content loss"):
        assert np.mean([float(row[key]) for row in plain]) == pytest.approx(1)
    varied = [row for row in rows if not row["method"].endswith((drawing_variations.PLAIN, ", 0"))]
    assert min(float(row["diversity"]) for row in varied) > 0
    text = (folder / "out" / "diversity.md").read_text()
    assert "Means over 2 contents" in text
    assert f"diversity of {WHEN_DRAWING} at equal style loss" in text
    assert f"diversity of {IN_TRAINING} at equal style loss" in text
    assert "| noisy training, 0.3 |" in text
    with Image.open(folder / "out" / "diversity_sheet.png") as sheet:
        assert sheet.width > 3 * 32 and sheet.height > 9 * 32


def test_a_stopped_study_goes_on(folder, monkeypatch):
    measure, calls = judging.measure, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 4:  # the second content of the second method
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(judging, "measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        study(folder)
    assert list(entries(folder)) == [drawing_variations.PLAIN]
    calls.clear()
    monkeypatch.setattr(judging, "measure", lambda *x: calls.append(x) or measure(*x))
    study(folder)
    assert len(calls) == 2 * 5
    with pytest.raises(UserError, match="holds measurements with seed=0, not 1"):
        study(folder, "--seed=1")


def test_without_sliders_there_is_content_noise(folder):
    study(folder, model="plain.safetensors")
    names = list(entries(folder))
    assert names[:2] == [drawing_variations.PLAIN, "content noise"] and len(names) == 4


def test_more_parameter_noise_moves_the_style_further(folder):
    model = load(folder / "model.safetensors")
    methods = drawing_variations.baseline(WHEN_DRAWING, model, (0.3, 0.1), 200, seed=0)
    assert [len(method.drawings) for method in methods] == [1, 200, 200]
    bias = np.asarray(model.style["conv1_norm"]["bias"])
    assert methods[0].drawings[0][0] is model
    for method, deviation in zip(methods[1:], (0.1, 0.3), strict=True):
        moved = np.stack([each.style["conv1_norm"]["bias"] for each, _ in method.drawings])
        assert (moved - bias).std() == pytest.approx(deviation, rel=0.15)
        assert method.name == f"parameter noise, {deviation}"


def test_a_baseline_at_equal_style_loss_by_hand():
    points = [(1.0, 0.0), (1.2, 0.1), (2.0, 0.5), (1.5, 0.9)]
    for style, expected in ((1.0, 0.0), (1.1, 0.05), (1.2, 0.1), (1.6, 0.3), (2.0, 0.5)):
        assert diversity_report.at_equal_loss(points, style) == pytest.approx(expected)
    assert diversity_report.at_equal_loss(points, 0.99) is None
    assert diversity_report.at_equal_loss(points, 2.01) is None


@pytest.mark.parametrize(
    ("averaged", "expected"),
    [
        # (2 * 3 + 4 * 5) / (2 * 3 + 2 * 5)
        (False, 26 / 16),
        # each layer over its mean, with the weights 3 and 5: (3 * 1 + 5 * 2) / 8
        (True, 13 / 8),
    ],
)
def test_the_style_loss_is_that_of_the_training_over_the_plain_one(averaged, expected):
    objective = Objective(style_layers=("a", "b", "c"), style_layer_weights=(3.0, 5.0, 0.0))

    def row(first, second, content):
        losses = {"style a": first, "style b": second, "style c": 7.0}  # without weights
        return {"content": "x", "diversity": 0.25, "content loss": content, **losses}

    methods = [Method("plain", [], WHEN_DRAWING), Method("other", [])]
    rows = {"plain": [row(1, 3, 2), row(3, 1, 6)], "other": [row(2, 4, 2)]}
    summary = diversity_report.summarize(methods, rows, objective, averaged=averaged)
    assert len(summary) == 3
    assert summary[2]["style"] == pytest.approx(expected)
    assert summary[2]["content loss"] == pytest.approx(0.5)
    assert summary[2]["diversity"] == 0.25
    assert np.mean([each["style"] for each in summary[:2]]) == pytest.approx(1)


def test_the_report_interpolates_and_says_what_is_out_of_reach(tmp_path):
    def row(method, baseline, diversity, style):
        return {
            "method": method,
            "baseline": baseline,
            "content": "x",
            "diversity": diversity,
            "style": style,
            "content loss": 1.0,
        }

    diversity_report.write(
        tmp_path,
        [
            row("plain", WHEN_DRAWING, 0.0, 1.0),
            row("near", "", 0.7, 1.5),
            row("far", "", 0.8, 3.0),
            row("better", "", 0.6, 0.9),
            row("much", WHEN_DRAWING, 0.5, 2.0),
        ],
    )
    lines = Path(tmp_path / "diversity.md").read_text().splitlines()
    assert "| near | 0.7 | 1.5 | 1 | 0.25 |" in lines
    assert "| far | 0.8 | 3 | 1 | out of reach (lower loss) |" in lines
    assert "| better | 0.6 | 0.9 | 1 | out of reach (higher loss) |" in lines
    assert "| much | 0.5 | 2 | 1 |  |" in lines


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--variations=1",), "--variations must be between 2"),
        (("--deviations=0",), "--deviations must be more than 0"),
        (("--size=30",), "--size must be between 31"),
        (("--contents=",), "--contents is missing"),
        (("--noisy=gone.safetensors",), "gone.safetensors"),
    ],
)
def test_mistakes_are_one_sentence(folder, flags, message):
    with pytest.raises(UserError, match=message):
        study(folder, *flags)
    assert not (folder / "out" / "diversity.md").exists()


def test_without_lpips_the_way_out_is_named(folder, monkeypatch):
    monkeypatch.setattr(lpips, "at_hand", lambda name: False)
    with pytest.raises(UserError, match=r"LPIPS with alexnet.*pip install 'metastyle_jax\[vgg\]'"):
        study(folder)
