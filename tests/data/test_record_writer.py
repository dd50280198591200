"""Folders as TFDS data sets: read back by TFDS and Pillow alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.cli import commands
from metastyle_jax.data import record_writer, sources
from metastyle_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A landscape, a portrait that its EXIF rotates, a picture with alpha, and no picture."""
    folder = tmp_path / "artworks"
    (folder / "deep").mkdir(parents=True)
    Image.new("RGB", (80, 40), (200, 100, 0)).save(folder / "a.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30), (0, 100, 200)).save(folder / "deep" / "b.jpg", exif=exif, quality=95)
    Image.new("RGBA", (24, 20), (0, 0, 0, 0)).save(folder / "c.png")
    (folder / "d.jpg").write_bytes(b"no picture")
    return folder


def test_tfds_and_pillow_read_what_was_written(folder, tmp_path, capsys):
    tfds = pytest.importorskip("tensorflow_datasets")
    out = tmp_path / "sets"
    commands.main(["prepare", str(folder), "--name=art", f"--out={out}", "--short-side=32"])
    printed, warned = capsys.readouterr()
    assert "wrote 3 pictures" in printed and "--config.data.style=tfds:art:train" in printed
    assert "left out: " in warned and "d.jpg" in warned
    assert sorted(path.name for path in out.iterdir()) == ["art"]
    decoders = {"image": tfds.decode.SkipDecoding()}
    records = tfds.data_source("art", split="train", data_dir=str(out), decoders=decoders)
    found = {}
    for record in records:
        picture = Image.open(io.BytesIO(record["image"]))
        found[picture.size] = np.asarray(picture, float).mean((0, 1)), picture.format
    # shrunk to 32, turned as EXIF says; the small one as it was, on white
    expected = {(64, 32): (200, 100, 0), (30, 60): (0, 100, 200), (24, 20): (255, 255, 255)}
    assert set(found) == set(expected)
    for size, color in expected.items():
        np.testing.assert_allclose(found[size][0], color, atol=2)
        assert found[size][1] == "JPEG"
    source = sources.open_source("tfds:art:train", "style", image_size=16, data_dir=out)
    assert len(source) == 3


def test_what_is_there_is_never_written_over(folder, tmp_path):
    out = tmp_path / "sets"
    write = ["prepare", str(folder), "--name=art", f"--out={out}"]
    commands.main(write)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"art/1\.0\.0 is there already: give another --name"):
        commands.main(write)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--name=Art", "--name=Art: use lower case letters, digits and _"),
        ("--short-side=4", "--short-side must be"),
        ("--threads=0", "--threads must be"),
    ],
)
def test_bad_flags(folder, tmp_path, flag, message):
    with pytest.raises(UserError, match=message):
        commands.main(["prepare", str(folder), "--name=art", f"--out={tmp_path / 'sets'}", flag])
    assert not (tmp_path / "sets").exists()


def test_no_data_set_of_nothing(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of the 1 pictures in"):
        record_writer.write_records(tmp_path, "art", tmp_path / "sets", short_side=32)
    assert not (tmp_path / "sets" / "art" / record_writer.VERSION).exists()


def test_a_folder_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        record_writer.write_records(folder, "art", tmp_path / "file", short_side=32)
