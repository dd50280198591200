"""`study features`: its table against numbers by hand, and mistakes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from metastyle_jax.cli import commands
from metastyle_jax.data import images, resizing
from metastyle_jax.data.images import write_png
from metastyle_jax.data.procedural import drawn_source
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.evaluation import judging
from metastyle_jax.features import registry
from metastyle_jax.networks import vgg
from metastyle_jax.reporting import records

COMPACT = Path(__file__).resolve().parents[2] / "metastyle_jax" / "assets" / "compact.safetensors"


def test_cost_by_hand():
    # 3 -> 64 -> 64 at full size, 64 -> 128 -> 128 at half of it
    expected = 9 * (3 * 64 + 64 * 64) + 9 * (64 * 128 + 128 * 128) / 4
    assert vgg.multiplications_per_pixel("vgg16", ["relu2_2"]) == expected


def test_the_small_networks_keep_to_their_budget():
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_3")
    full = vgg.multiplications_per_pixel("vgg16", layers)
    for name in ("compact", "distilled"):
        assert vgg.multiplications_per_pixel(name, layers) <= 0.11 * full


def test_cost_of_a_head_by_hand():
    # 3 -> 24 -> 24 at full size and 24 -> 64 on the second layer alone
    expected = 9 * (3 * 24 + 24 * 24) + 24 * 64
    assert vgg.multiplications_per_pixel("distilled", ["relu1_2"]) == expected


def test_study_features_compares_networks(tmp_path, capsys):
    for number in range(3):
        picture = drawn_source.style_image(number, 64)
        write_png(tmp_path / "styles" / f"{number}.png", np.asarray(picture))
    arguments = [f"--styles={tmp_path / 'styles'}", "--networks=compact,random-compact"]
    commands.main(["study", "features", f"--out={tmp_path / 'out'}", *arguments])
    assert "wrote" in capsys.readouterr().out
    with (tmp_path / "out" / "features.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["compact", "random-compact"]
    for row in rows:
        assert 6 * float(row["matched"]) == pytest.approx(round(6 * float(row["matched"])))
        assert float(row["relative"]) < 0.1
        assert row["layers"] == "relu1_2, relu2_2, relu3_3, relu4_3"
    assert "matched of 3" in (tmp_path / "out" / "features.md").read_text()


def test_study_features_measures_what_each_network_sees_of_a_picture(tmp_path):
    files = [tmp_path / "styles" / f"{number}.png" for number in range(2)]
    for number, file in enumerate(files):
        write_png(file, np.asarray(drawn_source.style_image(number, 64)))
    arguments = [f"--styles={tmp_path / 'styles'}", f"--picture={files[0]}", f"--style={files[1]}"]
    commands.main(["study", "features", f"--out={tmp_path / 'out'}", *arguments])
    with (tmp_path / "out" / "features.csv").open() as file:
        error = float(next(csv.DictReader(file))["error"])
    network = registry.load("compact", ("relu3_3",))
    grams = []
    for file in files:
        features = network.extract(images.read_image(file)[None], ("relu3_3",))["relu3_3"]
        flat = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
        grams.append(flat.T @ flat / len(flat))
    expected = np.square(grams[0] - grams[1]).sum() / np.square(grams[1]).sum()
    assert error == pytest.approx(expected, rel=1e-3)
    assert "style error of 0.png" in (tmp_path / "out" / "features.md").read_text()


def test_a_picture_needs_its_style(tmp_path):
    for number in range(2):
        write_png(tmp_path / "styles" / f"{number}.png", np.zeros((32, 32, 3), np.float32))
    arguments = [f"--styles={tmp_path / 'styles'}", "--picture=a.png"]
    with pytest.raises(UserError, match="--picture needs --style"):
        commands.main(["study", "features", f"--out={tmp_path / 'out'}", *arguments])


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ("", "--networks is empty: give one value at least"),
        ("random-resnet", "--networks: 'random-resnet' is unknown: use one of random-vgg16"),
        ("resnet", "unknown feature network 'resnet'"),
        ("vgg16:nowhere", "there is no file nowhere"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, networks, message):
    for number in range(2):
        write_png(tmp_path / "styles" / f"{number}.png", np.zeros((32, 32, 3), np.float32))
    arguments = [f"--styles={tmp_path / 'styles'}", f"--networks={networks}"]
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        commands.main(["study", "features", f"--out={tmp_path / 'out'}", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pictures_without_a_corner_are_named_and_left_out(tmp_path, capsys):
    """Half of 14 pixels is nothing at relu4_3; half of 16 is one position."""
    styles = tmp_path / "styles"
    for name, size in (("a", 16), ("b", 16), ("icon", 14)):
        write_png(styles / f"{name}.png", np.asarray(drawn_source.style_image(1, 64))[:size])
    commands.main(["study", "features", f"--out={tmp_path / 'out'}", f"--styles={styles}"])
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == (
        f"{styles / 'icon.png'}: skipped: 64x14 pixels, and the study needs 16 on each side"
    )
    assert "matched of 2" in (tmp_path / "out" / "features.md").read_text()
    small = [f"--picture={styles / 'a.png'}", f"--style={styles / 'icon.png'}"]
    with pytest.raises(UserError, match=r"icon\.png: the image is 64x14 pixels"):
        commands.main(["study", "features", f"--out={tmp_path}", f"--styles={styles}", *small])
    (styles / "b.png").unlink()
    with pytest.raises(UserError, match="fewer than two pictures of at least 16 pixels"):
        commands.main(["study", "features", f"--out={tmp_path}", f"--styles={styles}"])


@pytest.mark.parametrize("flag", ["networks", "contents", "styles"])
def test_study_drawings_needs_values(tmp_path, flag):
    given = {"contents": "a.png", "styles": "b.png", flag: ","}
    flags = [f"--{name}={value}" for name, value in given.items()]
    with pytest.raises(UserError, match=f"--{flag} is empty: give one value at least"):
        commands.main(["study", "drawings", f"--out={tmp_path / 'out'}", *flags])
    assert not (tmp_path / "out" / "drawings.csv").exists()


def test_study_drawings_judges_what_each_network_draws(standard_promotion, tmp_path):
    for name, paint in (("a", drawn_source.content_image), ("b", drawn_source.style_image)):
        write_png(tmp_path / f"{name}.png", np.asarray(paint(1, 48)))
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(COMPACT.read_bytes())
    pictures = [f"--contents={tmp_path / 'a.png'}", f"--styles={tmp_path / 'b.png'}"]
    networks = f"--networks=compact,compact:{twin}"
    out = tmp_path / "out"
    quick = ["--size=32", "--steps=3", "--judge=compact"]
    commands.main(["study", "drawings", f"--out={out}", *pictures, networks, *quick])
    with (out / "drawings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["compact", "compact:twin"]
    # the same network under another name draws the same
    assert float(rows[0]["loss"]) == pytest.approx(float(rows[1]["loss"]), rel=1e-6)
    # the judge is what was minimized: three steps are better than none
    content, style = (
        resizing.center_crop_resized(images.read_image(tmp_path / name), 32)
        for name in ("a.png", "b.png")
    )
    by = judging.relative("compact", 2.0)
    unchanged = judging.measure(by, content[None], content[None], style)["loss"][0]
    assert float(rows[0]["loss"]) < unchanged
    assert "twin" in (out / "drawings.md").read_text()


def test_labels_tell_files_of_one_network_apart():
    assert records.labels(["compact", "vgg16:a/b.pth"]) == ["compact", "vgg16"]
    assert records.labels(["compact", "compact:x/new.pt"]) == ["compact", "compact:new"]
    with pytest.raises(UserError, match="vgg16:b is named twice"):
        records.labels(["vgg16:a/b.pth", "vgg16:c/b.pth"])
