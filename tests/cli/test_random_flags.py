"""`stylize --random`: its files, lines, JSON and mistakes, with a tiny network."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.errors import PartialFailure, UserError, exit_cleanly
from metastyle_jax.storage import style_file
from metastyle_jax.stylization import loading, variations
from metastyle_jax.stylization.options import Options

LAYERS = ("relu1_1", "relu2_2")
SETTINGS = {"objective.style_layers": list(LAYERS)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A network with sliders, one without, and two pictures of one name."""
    params = tiny.adjustable_parameters()
    style_file.save_params(tmp_path / "model.safetensors", params, settings=SETTINGS)
    del params["adjuster"]
    style_file.save_params(tmp_path / "plain.safetensors", params, settings=SETTINGS)
    random = np.random.default_rng(0)
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        pixels = random.integers(0, 255, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stylize(*arguments: str, model: str = "model.safetensors") -> None:
    commands.main(["stylize", model, *arguments])


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


def test_files_are_numbered_and_none_meets_another(folder):
    stylize("x/a.png", "y/a.png", "--out=out", "--random=2")
    assert names(folder) == ["a_2_v001.png", "a_2_v002.png", "a_v001.png", "a_v002.png"]
    model = loading.load("model.safetensors")
    drawn = variations.draw(model, 2)
    for path, name in (("x/a.png", "a"), ("y/a.png", "a_2")):
        for each in drawn:
            expected = model.at(each.alpha).draw(read(path))
            np.testing.assert_array_equal(read(f"out/{name}_v00{each.number}.png"), expected)


def test_the_printed_weights_draw_the_same_picture(capsys):
    stylize("x/a.png", "--out=out", "--random=3", "--seed=7")
    lines = re.findall(r"^variation (\d): (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert [number for number, _ in lines] == ["1", "2", "3"]
    for number, alpha in lines:
        stylize("x/a.png", "--out=again", f"--alpha={alpha}", "--redo")
        np.testing.assert_array_equal(read("again/a.png"), read(f"out/a_v00{number}.png"))


def test_more_variations_draw_only_what_is_new(folder, capsys):
    stylize("x/a.png", "--out=out", "--random=2", "--json", "--content-noise")
    first = json.loads(capsys.readouterr().out)
    assert first["written"] == ["out/a_v001.png", "out/a_v002.png"]
    stylize("x/a.png", "--out=out", "--random=4", "--json", "--content-noise")
    more = json.loads(capsys.readouterr().out)
    assert more["skipped"] == first["written"]
    assert more["written"] == ["out/a_v003.png", "out/a_v004.png"]
    assert more["variations"][:2] == first["variations"]
    for changed in (["--seed=1", "--content-noise"], []):
        stylize("x/a.png", "--out=out", "--random=4", "--json", *changed)
        assert json.loads(capsys.readouterr().out)["skipped"] == []


def test_one_object_for_scripts(capsys):
    stylize("x/a.png", "--out=out", "--random=2", "--json", "--content-noise", "--alpha=relu1_1:0")
    said = capsys.readouterr()
    described = json.loads(said.out)["variations"]
    drawn = variations.draw(
        loading.load("model.safetensors"), 2, content_noise=True, alpha={"relu1_1": 0.0}
    )
    assert [each["number"] for each in described] == [1, 2]
    for each, variation in zip(described, drawn, strict=True):
        assert each["alpha"] == variation.alpha and each["alpha"]["relu1_1"] == 0
        assert each["spots"] == [list(spot) for spot in variation.spots]
        assert f"{variation}\n" in said.err
    stylize("x/a.png", "--out=out", "--json")
    assert set(json.loads(capsys.readouterr().out)) == {"written", "skipped", "failures"}


def test_content_noise_is_for_every_style_and_leaves_the_colors_of_the_picture():
    flags = ("--random=1", "--content-noise", "--color=keep", "--strength=0.5")
    stylize("x/a.png", "--out=out", *flags, model="plain.safetensors")
    model = loading.load("plain.safetensors")
    (each,) = variations.draw(model, 1, content_noise=True)
    drawn = model.draw(read("x/a.png"), Options(spots=each.spots))
    clean, drawn = (np.asarray(x, np.float64) for x in (read("x/a.png"), drawn))
    light = ((drawn - clean) @ [0.299, 0.587, 0.114])[..., None]
    expected = np.clip(clean + 0.5 * (np.clip(clean + light, 0, 255) - clean), 0, 255)
    np.testing.assert_allclose(read("out/a_v001.png"), expected, atol=1.1)


def test_a_picture_that_fails_is_one_failure(folder):
    (folder / "bad.png").write_text("no picture")
    with pytest.raises(PartialFailure, match=r"1 of 3 pictures .*\n *bad\.png"):
        stylize("bad.png", "x/a.png", "--out=out", "--random=2")
    assert names(folder) == ["a_v001.png", "a_v002.png"]


def test_an_input_at_the_place_of_a_variation_is_refused_before_anything_is_drawn(folder):
    before = read("x/a.png")
    Image.fromarray(before).save("x/a_v002.png")
    with pytest.raises(UserError, match=r"x/a_v002\.png .* another --out"):
        stylize("x", "--out=x", "--random=2", "--format=png")
    assert sorted(path.name for path in (folder / "x").iterdir()) == ["a.png", "a_v002.png"]


@pytest.mark.parametrize(
    ("model", "flags", "fragments"),
    [
        ("plain.safetensors", ["--random=2"], ["plain.safetensors", "add --content-noise"]),
        ("plain.safetensors", ["--content-noise"], ["--content-noise", "add --random=N"]),
        ("model.safetensors", ["--seed=3"], ["--seed", "add --random=N"]),
        ("model.safetensors", ["--random=0"], ["--random must be between 1 and 999"]),
        ("model.safetensors", ["--random=1000"], ["--random must be between 1 and 999"]),
        ("model.safetensors", ["--random=2", "--seed=-1"], ["--seed must be between 0"]),
        ("model.safetensors", ["--random=two"], ["--random"]),
        (
            "model.safetensors",
            ["--random=2", "--alpha=relu1_1:1,relu2_2:0"],
            ["names all style layers", "add --content-noise"],
        ),
        ("model.safetensors", ["--random=2", "--alpha=relu9_9:1"], ["no weight for relu9_9"]),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(folder, model, flags, fragments, capsys):
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        stylize("x/a.png", "--out=out", *flags, model=model)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert not (folder / "out").exists()
