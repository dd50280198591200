"""adapt.py where something goes wrong: bad pictures, Ctrl-C, a rate that is too high."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adapt as adapt_program
import tiny
from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.cli import adapt, adapt_input, adapt_output
from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.storage import folder_lock, style_file
from metastyle_jax.stylization import picture_files
from processes import QUICK_COMPILE, ROOT

QUICK = ["--size=32", "--style-size=32", "--batch=1"]


def picture(path: Path, width: int = 40, height: int = 33) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def failed(capfd, code: int, *arguments: str) -> str:
    """What adapt.py says on stderr as it ends with `code`."""
    with pytest.raises(SystemExit) as stopped:
        adapt_program.main(["adapt.py", *arguments])
    assert stopped.value.code == code
    return capfd.readouterr().err


def test_an_adaptation_that_is_stopped_has_taken_whole_steps(standard_promotion):
    objective = perceptual.Objective(content_layers=("relu1_2",), style_layers=("relu1_1",))
    network = tiny.feature_network(objective.layers, dtype=np.float32)
    style, contents = (np.asarray(tiny.images(1, 16, 16, seed=s), np.float32) for s in (1, 2))

    def adapt(steps: int, stop_after: int) -> style_adaptation.Adaptation:
        asked = itertools.count(1)
        how = style_adaptation.AdaptationSettings(objective, steps=steps)
        return style_adaptation.adapt(
            tiny.parameters(),
            style[0],
            itertools.repeat(contents),
            network,
            how,
            stopping=lambda: next(asked) >= stop_after,
        )

    stopped, whole = adapt(50, 2), adapt(2, 50)
    assert len(stopped.history) == len(whole.history) == 2
    assert stopped.history == whole.history
    np.testing.assert_array_equal(
        stopped.params["style"]["conv1_norm"]["scale"], whole.params["style"]["conv1_norm"]["scale"]
    )


@pytest.mark.slow
def test_ctrl_c_writes_what_was_reached(tmp_path):
    picture(tmp_path / "photo.png")
    command = [sys.executable, str(ROOT / "adapt.py"), "--style=photo.png", "--content=photo.png"]
    process = subprocess.Popen(
        [*command, *QUICK, "--steps=100000"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            **QUICK_COMPILE,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("step 1/"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130 and "Traceback" not in errors
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["interrupted"] and 1 <= report["steps"] < 100000
    assert f"interrupted after step {report['steps']}: wrote" in errors
    _, metadata = style_file.load_style(tmp_path / "out" / "style.safetensors")
    assert metadata["settings"]["adaptation.steps"] == report["steps"]
    assert (tmp_path / "out" / "images" / "photo.png").exists()


def test_bad_pictures_do_not_stop_the_others(tmp_path, monkeypatch, capfd, standard_promotion):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "d.png"):
        picture(tmp_path / "photos" / name)
    picture(tmp_path / "photos" / "b_small.png", 15, 15)
    whole = (tmp_path / "photos" / "a.png").read_bytes()
    (tmp_path / "photos" / "c_cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos" / "e_gone.png").symlink_to("nowhere.png")
    (tmp_path / "photos" / "notes.txt").write_text("mine")
    arguments = ["--style=photos/a.png", "--content=photos", "--steps=2", *QUICK]
    errors = failed(capfd, 1, *arguments)
    assert "3 of 5 pictures could not be stylized" in errors and "notes.txt" in errors
    for name in ("b_small.png", "c_cut.png", "e_gone.png"):
        assert f"photos/{name}: " in errors
    drawn = {path.name for path in (tmp_path / "out" / "images").iterdir()}
    assert drawn == {"a.png", "d.png"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["failures"]) == 3 and not report["interrupted"]


def test_without_one_good_picture_nothing_is_written(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "style.png")
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_text("no picture")
    errors = failed(capfd, 2, "--style=style.png", "--content", "a.jpg", "b.jpg", *QUICK)
    assert "a.jpg" in errors and "b.jpg" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "file"), [("--content", "out/images/photo.png"), ("--style", "out/sheet.png")]
)
def test_no_input_is_written_over(tmp_path, monkeypatch, capfd, flag, file):
    monkeypatch.chdir(tmp_path)
    before = picture(tmp_path / file).read_bytes()
    picture(tmp_path / "other.png")
    errors = failed(capfd, 2, "--style=other.png", "--content=other.png", f"{flag}={file}", *QUICK)
    assert file in errors and "choose another --out" in errors
    assert (tmp_path / file).read_bytes() == before


def test_no_picture_of_somebody_else_is_replaced(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = picture(tmp_path / "images" / "photo.png").read_bytes()
    picture(tmp_path / "photo.png")
    errors = failed(capfd, 2, "--style=photo.png", "--content=photo.png", "--out=.", *QUICK)
    assert "images/photo.png is there, and metastyle did not draw it" in errors
    assert (tmp_path / "images" / "photo.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "photo.png"]


def test_an_initialization_below_the_home_folder_is_not_written_over(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "m" / "params.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"the only copy")
    picture(tmp_path / "photo.png")
    flags = ["--init=~/m/params.safetensors", "--out=~/m", "--parameters=all"]
    errors = failed(capfd, 2, "--style=photo.png", "--content=photo.png", *flags, *QUICK)
    assert "params.safetensors would be written over the input" in errors
    assert file.read_bytes() == b"the only copy"


@pytest.mark.parametrize("name", ["run[1]", "run*", "~nobody-of-that-name"])
def test_an_output_folder_is_no_pattern(tmp_path, monkeypatch, capfd, name):
    """Also where another run's folder matches it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run1").mkdir()
    picture(tmp_path / "photo.png")

    def read(args: argparse.Namespace, out: Path) -> None:
        raise UserError(f"it would be written to {out}")

    monkeypatch.setattr(adapt, "_read", read)
    errors = failed(capfd, 2, "--style=photo.png", f"--out={name}", *QUICK)
    assert f"written to {name}\n" in errors


def test_a_folder_in_use_is_left_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png")
    with folder_lock.locked(tmp_path / "out"):
        errors = failed(capfd, 2, "--style=photo.png", "--content=photo.png", *QUICK)
        assert "out is in use by process" in errors and str(os.getpid()) in errors


@pytest.mark.parametrize("value", ["-5", "nan", "1e30", "inf"])
@pytest.mark.parametrize("flag", ["--style-weight", "--learning-rate", "--content-weight"])
def test_numbers_that_no_adaptation_can_use(capfd, flag, value):
    errors = failed(capfd, 2, f"{flag}={value}")
    assert errors.startswith(f"error: {flag} must be ") and f"got {float(value)}" in errors


def test_a_loss_that_ends_above_its_start_is_a_warning():
    args = argparse.Namespace(learning_rate=1.0)
    task = adapt_output.Task(args, *[None] * 5)
    rising = adapt_output.AdaptedTask(task, None, {"loss": 4.0}, {"loss": 1162.0})
    (warning,) = rising.warnings
    assert "1162" in warning and "above 4" in warning and "--learning-rate (now 1)" in warning
    assert not rising._replace(after={"loss": 3.9}).warnings


def test_photographs_are_read_as_they_are_needed(tmp_path, monkeypatch):
    """Not all at once: of forty, the first eight for the losses."""
    files = [picture(tmp_path / f"{i:02d}.png") for i in range(40)]
    read = []
    read_content = picture_files.read_content
    monkeypatch.setattr(
        picture_files,
        "read_content",
        lambda path: read.append(path) or read_content(path),
    )
    assert adapt_input.center_crops(files, 32).shape == (8, 32, 32, 3)
    assert read == files[:8]
