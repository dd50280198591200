"""`study sliders`: its numbers by hand, a tiny study, and mistakes."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.data import images
from metastyle_jax.data.images import write_png
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.losses import style_losses
from metastyle_jax.storage import style_file
from metastyle_jax.studies.adjustable import slider_study
from metastyle_jax.stylization.loading import load

LAYERS = ("relu1_1", "relu2_2")
SETTINGS = {
    "features.network": "compact",
    "objective.style_layers": list(LAYERS),
    "objective.content_layers": ["relu2_2"],
    "objective.normalize": False,
}


@pytest.fixture
def folder(tmp_path):
    """An adjustable network with random numbers, a style image, two photographs."""
    params = tiny.adjustable_parameters()
    style_file.save_params(tmp_path / "model.safetensors", params, settings=SETTINGS)
    style_file.save_params(
        tmp_path / "plain.safetensors",
        {name: params[name] for name in ("weights", "style")},
        settings=SETTINGS,
    )
    for number, name in enumerate(("style.png", "contents/a.png", "contents/b.png")):
        write_png(tmp_path / name, np.asarray(tiny.images(1, 32, 32, seed=number)[0]))
    return tmp_path


def study(folder, *flags: str, model: str = "model.safetensors") -> None:
    commands.main(
        [
            "study",
            "sliders",
            f"--model={folder / model}",
            f"--style={folder / 'style.png'}",
            f"--contents={folder / 'contents'}",
            f"--out={folder / 'out'}",
            *("--size=24", "--style-size=32", "--weights=3", *flags),
        ]
    )


def test_ranks_by_hand():
    rising, mixed = np.array([0.1, 0.2, 0.3, 0.4]), np.array([2.0, 4.0, 1.0, 3.0])
    assert slider_study.spearman(rising, -(rising**3)) == pytest.approx(-1)
    # 1 - 6 * (1 + 4 + 4 + 1) / (4 * 15)
    assert slider_study.spearman(rising, mixed) == pytest.approx(0)
    # ranks 1, 2.5, 2.5, 4 against 1 to 4: 4.5 / sqrt(5 * 4.5)
    tied = np.array([1.0, 2.0, 2.0, 3.0])
    assert slider_study.spearman(rising, tied) == pytest.approx(4.5 / np.sqrt(5 * 4.5))
    assert slider_study.spearman(rising, np.ones(4)) == 0


def test_a_summary_by_hand():
    losses = [[4.0, 1.0, 3.0], [3.0, 1.0, 2.0], [1.0, 2.0, 1.5]]
    rows = [{"weight": w, "losses": row} for w, row in zip((0, 0.5, 1), losses, strict=True)]
    found = slider_study.summary(rows)
    assert found["falling"] == pytest.approx(2 / 3)
    assert (found["at 0"], found["at 1"], found["ratio"]) == (3.0, 1.5, 0.5)
    assert found["spearman"] == pytest.approx(-1)


def test_the_losses_are_those_of_what_the_stylizer_draws(folder):
    study(folder)
    entries = json.loads((folder / "out" / "measurements.json").read_text())["entries"]
    assert len(entries) == 4
    row = entries["relu2_2, others 0"][1]
    assert row["weight"] == 0.5
    content, style = (images.read_image(folder / name) for name in ("contents/a.png", "style.png"))
    content = np.asarray(
        Image.fromarray(images.as_uint8(content)).resize((24, 24), Image.Resampling.LANCZOS)
    )
    drawn = (
        load(folder / "model.safetensors")
        .at({"relu1_1": 0, "relu2_2": 0.5})
        .draw(np.asarray(content, np.float32) / 255)
    )
    network = registry.load("compact", LAYERS)
    statistics = [
        style_losses.gram.statistics(network.extract(picture[None], ["relu2_2"])["relu2_2"])
        for picture in (drawn, style)
    ]
    expected = np.square(np.asarray(statistics[0]) - np.asarray(statistics[1])).mean()
    assert row["losses"][0] == pytest.approx(float(expected), rel=0.02)  # of another resampling

    with (folder / "out" / "sliders.csv").open() as file:
        points = list(csv.DictReader(file))
    assert len(points) == 2 * 2 * 3
    point = points[3 * 2 + 1]
    assert (point["layer"], point["weight"]) == ("relu2_2", "0.5")
    assert float(point["loss"]) == pytest.approx(np.median(row["losses"]))
    text = (folder / "out" / "sliders.md").read_text()
    assert "over 2 contents at 24 px" in text and "| relu1_1 | 1 |" in text
    for name in ("sliders.png", "sliders_sheet.png"):
        with Image.open(folder / "out" / name) as picture:
            assert picture.width > 100


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("plain.safetensors", (), r"has no sliders: train it with config\.model\.adjuster"),
        ("model.safetensors", ("--weights=1",), "--weights must be between 2"),
        ("model.safetensors", ("--style=",), "--style is missing"),
    ],
)
def test_mistakes_are_one_sentence(folder, model, flags, message):
    with pytest.raises(UserError, match=message):
        study(folder, *flags, model=model)
    assert not (folder / "out" / "sliders.md").exists()
