"""stylize with all its options, blend, grid and inspect, with a tiny network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands, style_arguments
from metastyle_jax.errors import PartialFailure, UserError
from metastyle_jax.storage import style_file
from metastyle_jax.storage.checkpoint import Checkpoints
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.blending import Regions, blend
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Record, Stylizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, two styles of it, and pictures."""
    folder = tmp_path_factory.mktemp("apply")
    params = [
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters(seed))
        for seed in (0, 1)
    ]
    start = folder / "start.safetensors"
    style_file.save_params(start, params[0], settings={})
    weights = params[0]["weights"]
    record = Record("", {"adaptation.steps": 7}, str(start), tree_digest(weights))
    for name, each in zip(("one", "two"), params, strict=True):
        Stylizer(weights, each["style"], 0.0, record).save(folder / f"{name}.safetensors")
    random = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        pixels = random.integers(0, 255, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=100)
    mask = np.zeros((20, 24), np.uint8)
    mask[:, 12:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def stylize(*arguments: str) -> None:
    commands.main(["stylize", *arguments, "--redo"])


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_results_keep_the_format_of_their_pictures(folder):
    stylize("one.safetensors", "a.jpg", "b.png", "--out=own")
    assert sorted(path.name for path in (folder / "own").iterdir()) == ["a.jpg", "b.png"]
    np.testing.assert_array_equal(
        read("own/b.png"), loading.load("one.safetensors").draw(read("b.png"))
    )


def test_transparency_stays_where_it_was(folder):
    """What is opaque below, and half of it in columns, also when the drawing is smaller."""
    opacity = np.zeros((20, 24), np.uint8)
    opacity[10:] = 255
    picture = np.dstack([read("b.png"), opacity])
    Image.fromarray(picture).save("clear.png")
    stylize("one.safetensors", "clear.png", "--out=clear")
    np.testing.assert_array_equal(read("clear/clear.png")[..., 3], opacity)
    stylize("one.safetensors", "clear.png", "--out=small", "--size=16")
    small = read("small/clear.png")
    assert small.shape == (16, 19, 4)
    assert (small[:6, :, 3] == 0).all() and (small[10:, :, 3] == 255).all()


def test_another_format_and_quality(folder):
    for quality in (20, 95):
        flags = [f"--out=webp{quality}", "--format=webp", f"--quality={quality}"]
        stylize("one.safetensors", "b.png", *flags)
    coarse, fine = Path("webp20/b.webp"), Path("webp95/b.webp")
    assert Image.open(coarse).format == Image.open(fine).format == "WEBP"
    assert coarse.stat().st_size < fine.stat().st_size


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--strength=0.4"], Options(strength=0.4)),
        (["--strength=1.5"], Options(strength=1.5)),
        (["--color=keep"], Options(colors="luminance")),
        (["--color=covariance"], Options(colors="covariance")),
        (["--size=30", "--stroke-size=1.5"], Options(size=30, stroke_size=1.5)),
    ],
)
def test_flags_are_options_of_the_drawing(flags, options):
    stylize("one.safetensors", "b.png", "--out=options", *flags)
    expected = loading.load("one.safetensors").draw(read("b.png"), options)
    np.testing.assert_array_equal(read("options/b.png"), expected)


@pytest.mark.parametrize(("suffixes", "shares"), [((":0.25", ":0.75"), (1, 3)), (("", ""), (1, 1))])
def test_several_styles_are_blended(suffixes, shares):
    names = ("one.safetensors", "two.safetensors")
    arguments = [name + suffix for name, suffix in zip(names, suffixes, strict=True)]
    stylize(*arguments, "b.png", "--out=blend")
    both = blend(list(zip(map(loading.load, names), shares, strict=True)))
    np.testing.assert_array_equal(read("blend/b.png"), both.draw(read("b.png")))
    commands.main(["blend", *arguments, "--out=between.safetensors"])
    stylize("between.safetensors", "b.png", "--out=again")
    np.testing.assert_array_equal(read("again/b.png"), read("blend/b.png"))


@pytest.mark.parametrize(
    ("name", "files", "known"),
    [
        ("run", ["run/checkpoints/40/record.json"], True),
        ("run@40", ["run/checkpoints/40/record.json"], True),
        ("run", ["run/sheets/step_1.png", "run/checkpoints/.trial"], True),  # it has just begun
        ("run/checkpoints", ["run/checkpoints/40/record.json"], True),
        ("run/checkpoints/40", ["run/checkpoints/40/record.json"], True),
        ("photos", ["photos/2024/a.png", "photos/training/a.png"], False),
        ("x" * 300, [], False),
    ],
)
@pytest.mark.parametrize("share", ["", ":0.3"])
def test_a_workdir_is_a_style_and_a_folder_of_pictures_is_none(
    tmp_path, monkeypatch, name, files, known, share
):
    monkeypatch.chdir(tmp_path)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    styles, pictures = style_arguments.split(["pack:great_wave", name + share, "photo.png"])
    found = [(each.spec, each.share) for each in styles[1:]]
    assert found == ([(name, 0.3 if share else None)] if known else [])
    assert pictures == (["photo.png"] if known else [name + share, "photo.png"])


def test_a_server_offers_files_whose_names_are_not_utf_8(folder, tmp_path):
    """Under names that JSON can hold."""
    file = tmp_path / "caf\udce9.safetensors"
    file.write_bytes((folder / "one.safetensors").read_bytes())
    assert "caf\\udce9" in style_arguments.offered([str(file)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["grid", "one.safetensors:0.5", "two.safetensors", "b.png", "--out=g.png"],
            "leave :0.5 out",
        ),
        (
            ["grid", "one.safetensors", "two.safetensors", "b.png", "--out=g.gif"],
            "--out a name that",
        ),
        (
            ["stylize", "one.safetensors:0.5", "two.safetensors", "b.png", "--mask", "mask.png"],
            "one.safetensors has a share, which its mask says already",
        ),
    ],
)
def test_shares_where_none_may_be_are_one_sentence(arguments, message):
    with pytest.raises(UserError, match=message):
        commands.main([*arguments, *([] if arguments[0] == "grid" else ["--out=no"])])
    assert not Path("g.png").exists() and not Path("no").exists()


def test_masks_give_each_style_its_region():
    one, two = map(loading.load, ("one.safetensors", "two.safetensors"))
    stylize("one.safetensors", "two.safetensors", "b.png", "--out=mask", "--mask", "mask.png")
    right = np.asarray(Image.open("mask.png"), np.float32) / 255
    expected = Regions([one, two], np.stack([1 - right, right])).draw(read("b.png"))
    np.testing.assert_array_equal(read("mask/b.png"), expected)
    stylize("one.safetensors", "b.png", "--out=part", "--mask", "mask.png")
    np.testing.assert_array_equal(read("part/b.png")[:, :12], read("b.png")[:, :12])


def test_one_object_for_scripts(capsys, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(PartialFailure):
        stylize("one.safetensors", "b.png", str(tmp_path / "bad.png"), "--out=json", "--json")
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["written"] == ["json/b.png"] and result["skipped"] == []
    assert "bad.png" in result["failures"][0]
    assert "1/1 b.png" in said.err


def test_a_grid_is_one_sheet():
    commands.main(
        ["grid", "one.safetensors", "two.safetensors", "b.png", "--out=grid.png", "--size=32"]
    )
    assert Image.open("grid.png").size == (5 * 36 + 4, 3 * 36 + 4)


def test_init_is_for_the_styles_that_have_no_weights_of_their_own(folder):
    """Beside them a file of parameters may stand, which has the same weights."""
    lost = loading.load("two.safetensors")
    record = dataclasses.replace(lost.record, weights_name="gone.safetensors")
    dataclasses.replace(lost, record=record).save(folder / "lost.safetensors")
    styles = [style_arguments.parse(f"{name}.safetensors") for name in ("lost", "start")]
    with pytest.raises(UserError, match="give its weights with --init"):
        style_arguments.load_all(styles)
    stylizers = style_arguments.load_all(styles, "start.safetensors")
    expected = [loading.load(f"{name}.safetensors") for name in ("two", "start")]
    for one, other in zip(stylizers, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


@pytest.mark.parametrize(
    "command",
    [
        ["stylize", "start.safetensors", "b.png", "--out=o"],
        ["stylize", "embedded", "b.png", "--out=o"],
        ["video", "start.safetensors", "b.png", "--out=o.mp4"],
        ["grid", "start.safetensors", "embedded", "b.png", "--out=o.png"],
        ["blend", "start.safetensors", "start.safetensors", "--out=o.safetensors"],
        ["export", "start.safetensors", "--format=npz", "--out=o.npz"],
    ],
)
def test_init_is_not_ignored_by_what_has_its_own_weights(folder, command):
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=f"^{command[1]} has its own weights: leave --init out$"):
        commands.main([*command, "--init=no/such/init"])
    assert sorted(folder.iterdir()) == before


def test_inspect_says_what_files_are(capsys):
    commands.main(["inspect", "one.safetensors", "start.safetensors", "b.png"])
    said = capsys.readouterr().out
    assert "one.safetensors: whole, a style file" in said and "steps: 7" in said
    assert "start.safetensors: whole, a file of parameters" in said
    assert "b.png: whole, a picture" in said and "24" in said
    commands.main(["inspect", "one.safetensors", "--json"])
    described = json.loads(capsys.readouterr().out)
    assert described["kind"] == "style" and described["settings"]["adaptation.steps"] == 7
    assert described["of weights"] == tree_digest(loading.load("one.safetensors").weights)


def test_inspect_finds_damage(folder, capsys):
    data = bytearray((folder / "one.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "flipped.safetensors").write_bytes(data)
    with pytest.raises(PartialFailure, match="flipped"):
        commands.main(["inspect", "flipped.safetensors", "one.safetensors"])
    assert "one.safetensors: whole" in capsys.readouterr().out


def test_inspect_says_which_checkpoints_of_a_workdir_are_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Checkpoints(tmp_path / "run" / "checkpoints", configuration={}) as checkpoints:
        for step in (9, 10, 20):
            # a run has more than parameters, whose damage shows as well
            checkpoints.save(step, {"params": {"a": np.ones(3)}, "moments": np.full(3, step)})
    commands.main(["inspect", "run"])
    said = capsys.readouterr().out.splitlines()
    assert said == [f"run/checkpoints/{step}: whole, a checkpoint" for step in (9, 10, 20)]
    moved = next(path for path in (tmp_path / "run/checkpoints/10/training").rglob("*/d/*"))
    moved.write_bytes(moved.read_bytes()[:-1] + b"x")
    for argument in ("run", "run/checkpoints"):
        with pytest.raises(UserError, match=rf"^{argument}: 1 of 3 .* newest whole one$"):
            commands.main(["inspect", argument])
        first, damaged, last = capsys.readouterr().out.splitlines()
        assert [first, last] == [said[0], said[2]]
        assert damaged.startswith("run/checkpoints/10: damaged: its file training/")
    with pytest.raises(PartialFailure, match="1 of 2 files could not be read whole"):
        commands.main(["inspect", "--json", "run/checkpoints/9", "run/checkpoints/10"])
    whole, damaged = map(json.loads, capsys.readouterr().out.splitlines())
    assert whole["checkpoints"] == [{"checkpoint": "run/checkpoints/9", "damage": ""}]
    assert "has changed since" in damaged["checkpoints"][0]["damage"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["stylize", "one.safetensors", "two.safetensors", "--out=o"], "name the pictures"),
        (["stylize", "one.safetensors:0.5", "b.png", "--out=o"], "is alone and needs no share"),
        (
            ["stylize", "one.safetensors:1", "two.safetensors", "b.png", "--out=o"],
            "two.safetensors has no share",
        ),
        (["stylize", "one.safetensors:-1", "b.png", "--out=o"], "share of a style is 0 or more"),
        (["stylize", "one.safetensors", "b.png", "--out=o", "--strength=2"], "--strength"),
        (["stylize", "one.safetensors", "b.png", "--out=o", "--stroke-size=0"], "--stroke-size"),
        (["stylize", "one.safetensors", "b.png", "--out=o", "--quality=0"], "--quality"),
        (
            ["stylize", "one.safetensors", "b.png", "--out=o", "--mask", "mask.png", "mask.png"],
            "1 styles need one mask, not 2",
        ),
        (
            ["stylize", "one.safetensors", "b.png", "--out=o", "--mask", "gone.png"],
            "gone.png: there is no such file",
        ),
        (["stylize", "one.safetensors", "b.png", "--out=.", "--mask", "b.png"], "b.png"),
        (["blend", "one.safetensors", "--out=o.safetensors"], "two or more styles"),
        (["blend", "one.safetensors", "two.safetensors", "--out=o.png"], "ends in .safetensors"),
        (["blend", "one.safetensors", "two.safetensors", "--out=two.safetensors"], "another --out"),
        (["grid", "one.safetensors", "b.png", "--out=o.gif"], "ends in .png"),
        (["grid", "one.safetensors", "b.png", "--out=b.png"], "another --out"),
        (["grid", *["one.safetensors"] * 5, "b.png", "--out=o.png"], "one to 4 styles, not 5"),
        (["inspect", "gone.safetensors"], "there is no file gone.safetensors"),
        (["inspect", "."], "this is a folder"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(folder, command, message):
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=message) as error:
        commands.main(command)
    assert "\n" not in str(error.value).strip() or command[0] == "inspect"
    assert sorted(folder.iterdir()) == before
