"""Many pictures at a time: what fails, what is skipped, what is said, with a tiny network."""

from __future__ import annotations

import errno
import functools
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.data import decoding, images
from metastyle_jax.errors import PartialFailure, UserError, exit_cleanly
from metastyle_jax.storage.atomic import atomic_path, check_name
from metastyle_jax.stylization import batch_run
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer
from processes import QUICK_COMPILE
from processes import run as run_python


@functools.cache
def stylizer(seed: int = 0, input_noise: float = 0.0) -> Stylizer:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters(seed))
    return Stylizer(**params, input_noise=input_noise)


def draw(path: Path, width: int = 17, height: int = 16, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def run(paths, out, drawing=None, *, ending="", **keywords) -> tuple[batch_run.Outcome, list[str]]:
    lines: list[str] = []
    drawing = drawing or stylizer()
    drawing = batch_run.drawing_of(drawing, ending=ending)
    outcome = batch_run.run([drawing], paths, out, say=lines.append, **keywords)
    return outcome, lines


def written(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir()) if out.exists() else []


@pytest.fixture
def photos(tmp_path):
    """Two sound pictures and three bad ones."""
    data = draw(tmp_path / "photos" / "a.png").read_bytes()
    draw(tmp_path / "photos" / "d.png", seed=1)
    (tmp_path / "photos" / "b.png").write_bytes(data[: len(data) // 2])
    draw(tmp_path / "photos" / "c.png", 15, 40)
    (tmp_path / "photos" / "e.png").symlink_to("nowhere.png")
    return sorted((tmp_path / "photos").iterdir())


def test_bad_pictures_do_not_stop_the_others_and_are_listed_at_the_end(photos, tmp_path):
    outcome, _ = run(photos, tmp_path / "out")
    assert written(tmp_path / "out") == ["a.png", "d.png"]
    expected = stylizer()(images.read_image(photos[0]))
    drawn = images.read_image(tmp_path / "out" / "a.png")
    np.testing.assert_allclose(drawn, np.clip(expected, 0, 1), atol=1 / 255)
    with pytest.raises(PartialFailure) as error:
        outcome.check()
    first, *lines = str(error.value).splitlines()
    assert first == "3 of 5 pictures could not be stylized:" and len(lines) == 3
    for name, reason in (("b", "truncated"), ("c", "15x40"), ("e", "link")):
        assert any(f"photos/{name}.png: " in line and reason in line for line in lines)


def test_where_nothing_can_be_done_nothing_is_written(photos, tmp_path):
    outcome, _ = run(photos[2:3] + photos[4:], tmp_path / "out")
    with pytest.raises(UserError, match=r"none of the 2 .*\n.*c\.png.*\n.*e\.png") as error:
        outcome.check()
    assert not isinstance(error.value, PartialFailure)
    assert not (tmp_path / "out").exists()
    outcome, _ = run(photos[2:3], tmp_path / "out")
    with pytest.raises(UserError, match=r"^[^\n]*c\.png: .*15x40[^\n]*$"):
        outcome.check()


@pytest.mark.parametrize("count, code", [(2, 1), (1, 2), (0, 0)])
def test_exit_codes(count, code, capsys):
    outcome = batch_run.Outcome(failures=[f"{n}.png: is bad" for n in range(count)])
    outcome.written = [Path("a.png")] if code == 1 else []
    try:
        with exit_cleanly():
            outcome.check()
    except SystemExit as stopped:
        assert stopped.code == code
    else:
        assert code == 0
    assert capsys.readouterr().err.count("is bad") == count


def test_each_picture_is_decoded_once(photos, tmp_path, monkeypatch):
    decoded, decode = [], decoding.decode_layers
    monkeypatch.setattr(
        decoding, "decode_layers", lambda file, name: decoded.append(name) or decode(file, name)
    )
    run(photos, tmp_path / "out")
    # not those whose header tells enough
    assert decoded == [str(photos[n]) for n in (0, 1, 3)]


def test_what_is_done_is_skipped_and_said(photos, tmp_path):
    sound, out = [photos[0], photos[3]], tmp_path / "out"
    run(sound, out)
    times = [path.stat().st_mtime_ns for path in sorted(out.iterdir())]
    outcome, lines = run(sound, out)
    assert outcome.written == [] and len(outcome.skipped) == 2
    (line,) = lines
    assert "skipped 2 pictures" in line and "--redo" in line
    assert times == [path.stat().st_mtime_ns for path in sorted(out.iterdir())]
    outcome, lines = run(sound, out, redo=True)
    assert len(outcome.written) == 2 and len(lines) == 2


def test_another_picture_style_noise_or_file_is_no_reason_to_skip(photos, tmp_path):
    out = tmp_path / "out"
    run([photos[0]], out)
    # another picture of the same name, older than the output
    other = draw(tmp_path / "other" / "a.png", seed=5)
    os.utime(other, (0, 0))
    assert run([other], out)[0].written
    assert run([other], out, stylizer(0, 0.1))[0].written
    assert run([other], out, stylizer(1, 0.1))[0].written
    run([other], out)
    # the same bytes at another place and time
    copied = tmp_path / "copied" / "a.png"
    copied.parent.mkdir()
    copied.write_bytes(other.read_bytes())
    assert run([copied], out)[0].skipped


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
def test_a_file_that_was_not_drawn_here_is_not_replaced(tmp_path, ending):
    """It may be the only copy of somebody's picture; the others are drawn, and go on as before."""
    paths = [draw(tmp_path / "photos" / f"{name}.png") for name in "abcd"]
    out = tmp_path / "out"
    before = {}
    for name in "abc":
        path = draw(out / f"{name}.{ending}", 30, 30)
        before[path] = path.read_bytes()
    (out / f"b.{ending}").unlink()
    (out / f"b.{ending}").mkdir()
    (out / f"c.{ending}").unlink()
    (out / f"c.{ending}").symlink_to("nowhere")
    outcome, _ = run(paths, out, ending=ending)
    assert [path.name for path in outcome.written] == [f"d.{ending}"]
    for failure, path in zip(outcome.failures, paths, strict=False):
        assert failure.startswith(f"{path}: {out / path.stem}.{ending} is there, and metastyle did")
        assert "--out" in failure and "--redo" in failure
    assert (out / f"a.{ending}").read_bytes() == before[out / f"a.{ending}"]
    assert (out / f"c.{ending}").is_symlink()
    # what was drawn is skipped, or drawn anew by another style
    assert run(paths[3:], out, ending=ending)[0].skipped
    assert run(paths[3:], out, stylizer(1), ending=ending)[0].written
    assert len(run(paths[::3], out, ending=ending, redo=True)[0].written) == 2
    batch_run.refuse_replacing([out / f"a.{ending}", out / f"gone.{ending}"])
    draw(out / f"a.{ending}")
    with pytest.raises(UserError, match=rf"a\.{ending} is there, .* choose another --out$"):
        batch_run.refuse_replacing([out / f"a.{ending}"])


def test_where_all_outputs_are_of_somebody_else_nothing_is_drawn(tmp_path):
    path = draw(tmp_path / "photos" / "a.png")
    draw(tmp_path / "out" / "a.png")
    outcome, lines = run([path], tmp_path / "out")
    with pytest.raises(UserError, match=r"did not draw it"):
        outcome.check()
    assert lines == []


def test_no_input_is_written_over(tmp_path):
    folder = tmp_path / "d"
    before = draw(folder / "a.png").read_bytes()
    draw(folder / "b.jpg")
    for inputs in ({}, {"inputs": [folder / "a.png"]}):
        paths = sorted(folder.glob("*.jpg" if inputs else "*"))
        draw(tmp_path / "a.jpg")
        with pytest.raises(UserError, match=r"d/a\.png .* another --out"):
            run([*paths, tmp_path / "a.jpg"], folder, ending="png", **inputs)
    with pytest.raises(UserError, match=r"d/b\.jpg .* another --out"):  # each keeps its format
        run([folder / "b.jpg"], folder)
    assert written(folder) == ["a.png", "b.jpg"]
    assert (folder / "a.png").read_bytes() == before


def test_progress_names_input_output_rate_and_time_left(tmp_path):
    paths = [draw(tmp_path / name / "a.png") for name in ("x", "y")]
    _, lines = run(paths, tmp_path / "out")
    for number, (line, name) in enumerate(zip(lines, ("a.png", "a_2.png"), strict=True), 1):
        assert line.startswith(f"{number}/2 {paths[number - 1]} -> {tmp_path / 'out' / name} | ")
        assert "megapixels/s ETA" in line
    assert lines[-1].endswith("ETA 0 s")


def test_a_large_picture_is_announced_before_it_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_run, "_SLOW", 0.0002)
    lines: list[str] = []

    def stopped(self, image, options, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(Stylizer, "draw", stopped)
    with pytest.raises(KeyboardInterrupt):
        path = draw(tmp_path / "a.png")
        drawing = batch_run.drawing_of(stylizer())
        batch_run.run([drawing], [path], tmp_path / "out", say=lines.append)
    (line,) = lines
    assert line.startswith(f"1/1 stylizing {path}") and "megapixels" in line


def test_a_picture_that_takes_long_says_what_share_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_run, "_EVERY", 0.0)
    _, lines = run([draw(tmp_path / "a.png")], tmp_path / "out")
    shares = [line for line in lines if "%" in line]
    assert len(shares) > 3
    assert all(line.startswith(f"1/1 {tmp_path / 'a.png'}: ") and "ETA" in line for line in shares)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
        jax.errors.JaxRuntimeError("INTERNAL: Failed: out of memory"),
    ],
)
def test_too_little_memory_for_one_picture_is_a_sentence_and_not_the_end(
    tmp_path, monkeypatch, error
):
    paths = [draw(tmp_path / "large.png", 40, 33), draw(tmp_path / "small.png")]
    stylize = Stylizer.draw

    def limited(self, image, **keywords):
        if image.shape[1] > 30:
            raise error
        return stylize(self, image, **keywords)

    monkeypatch.setattr(Stylizer, "draw", limited)
    outcome, _ = run(paths, tmp_path / "out")
    assert written(tmp_path / "out") == ["small.png"]
    (sentence,) = outcome.failures
    assert sentence.startswith(f"{paths[0]}: ")
    assert "memory" in sentence and "40x33" in sentence and "smaller" in sentence
    # nor is it for what surrounds the network
    monkeypatch.undo()
    decode = decoding.decode_layers
    monkeypatch.setattr(
        decoding, "decode_layers", lambda file, name: limited(None, decode(file, name).colors)
    )
    outcome, _ = run(paths[:1], tmp_path / "out")
    assert outcome.failures == [sentence]


def test_other_errors_of_a_computation_stay_what_they_are(tmp_path, monkeypatch):
    def broken(self, image, options, progress):
        raise jax.errors.JaxRuntimeError("INTERNAL: a defect")

    monkeypatch.setattr(Stylizer, "draw", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a defect"):
        run([draw(tmp_path / "a.png")], tmp_path / "out")


def test_long_names(tmp_path):
    """As long as the file system allows; a result whose name is longer is one failure."""
    longest = "ü" * 120 + "x" * 11  # 251 bytes, and four of the ending
    paths = [draw(tmp_path / name / f"{longest}.png") for name in ("x", "y")]
    with pytest.raises(UserError, match="name too long"):
        check_name(tmp_path / "not" / "there" / f"{longest}_2.png")
    check_name(tmp_path / "not" / "there" / f"{longest}.png")
    outcome, _ = run([*paths, draw(tmp_path / "a.png")], tmp_path / "out")
    assert [path.name for path in outcome.written] == [f"{longest}.png", "a.png"]
    (sentence,) = outcome.failures  # its name would end in _2
    assert sentence.startswith(f"{paths[1]}: ") and "name too long" in sentence


def test_a_name_that_no_encoding_has_is_printed_all_the_same():
    program = (
        "import os\n"
        "from metastyle_jax.errors import exit_cleanly\n"
        "with exit_cleanly():\n"
        "    print(os.fsdecode(b'\\xff.png'))\n"
    )
    done = run_python(["-c", program], Path.cwd(), PYTHONIOENCODING="utf-8:strict")
    assert (done.returncode, done.stdout) == (0, "\\udcff.png\n"), done.stderr


def test_temporary_names_are_short_and_keep_the_suffix(tmp_path):
    for name in ("y" * 251 + ".png", "a." + "z" * 200):
        with atomic_path(tmp_path / name) as temporary:
            temporary.touch()
            assert len(os.fsencode(temporary.name)) < 60
        assert (tmp_path / name).exists()
    with atomic_path(tmp_path / "a.png") as temporary:
        temporary.touch()
        assert temporary.suffix == ".png"


def test_a_full_disk_ends_the_batch_instead_of_failing_with_each_picture(tmp_path, monkeypatch):
    paths = [draw(tmp_path / f"{name}.png") for name in "abc"]
    save, saved = Image.Image.save, []

    def full(self, *arguments, **keywords):
        if saved:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(save(self, *arguments, **keywords))

    monkeypatch.setattr(Image.Image, "save", full)
    outcome, _ = run(paths, tmp_path / "out")
    assert written(tmp_path / "out") == ["a.png"]
    assert "no space" in outcome.failures[0] and "not tried" in outcome.failures[1]


def test_the_command_expands_patterns_and_tells_what_it_skips(tmp_path, monkeypatch, capsys):
    frames = [Image.fromarray(np.full((20, 30), 60 * n, np.uint8)) for n in range(3)]
    (tmp_path / "d").mkdir()
    frames[0].save(tmp_path / "d" / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "d" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    # the network is not what this is about
    monkeypatch.setattr(Stylizer, "draw", lambda self, image, options, progress: image)
    command = ["stylize", "pack:great_wave", "d", "d/*.gif", "--out=d/out"]
    commands.main(command)
    said = capsys.readouterr()
    assert "d/a.gif: it has 3 frames, of which the first is used" in said.out
    assert "1/1 d/a.gif -> d/out/a.png" in said.out
    assert "skipped 1 file" in said.err and "notes.txt" in said.err
    commands.main(command)
    assert "skipped 1 picture that was done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, fragments",
    [
        (["https://example.org/a.jpg"], ["https://example.org/a.jpg", "download it first"]),
        (["*.bmp"], ["*.bmp", "no file matches"]),
        (["photo.png", "--out=."], ["photo.png", "another --out"]),
        (["link/photo.png", "--out=."], ["photo.png", "another --out"]),
        (["gone.png"], ["gone.png", "no such file"]),
        (["x" * 300], ["too long"]),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    arguments, fragments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    before = draw(tmp_path / "photo.png").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        commands.main(["stylize", "pack:great_wave", "--out=out", *arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and all(fragment in line for fragment in fragments), line
    assert written(tmp_path) == ["link", "photo.png"]
    assert (tmp_path / "photo.png").read_bytes() == before


def test_the_command_imports_no_library_of_the_training(tmp_path):
    draw(tmp_path / "photo.png")
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('orbax', 'grain', 'tensorflow_datasets', 'tensorboardX',"
        " 'matplotlib'):\n"
        "            raise AssertionError('imports ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from metastyle_jax.cli import commands\n"
        "commands.main(['stylize', 'pack:great_wave', 'photo.png', '--out=out'])\n"
    )
    done = run_python(["-c", program], tmp_path, **QUICK_COMPILE)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "out") == ["photo.png"]


def test_what_the_format_cannot_hold_is_not_drawn_and_the_others_are(tmp_path):
    """What counts is the size of the drawing."""
    paths = [draw(tmp_path / "long.png", 16_384, 16), draw(tmp_path / "thin.png", 16, 600)]
    paths.append(draw(tmp_path / "small.png"))
    wide = batch_run.drawing_of(stylizer(), Options(size=16), "webp")
    outcome = batch_run.run([wide], paths, tmp_path / "out", say=lambda line: None)
    assert written(tmp_path / "out") == ["small.webp", "thin.webp"]
    (failure,) = outcome.failures
    assert failure.startswith(f"{paths[0]}: ") and "WEBP holds at most 16383" in failure
    large = batch_run.drawing_of(stylizer(), Options(size=512, stroke_size=4), "webp")
    outcome = batch_run.run([large], paths[1:2], tmp_path / "large", say=lambda line: None)
    assert "512x19200 pixels" in outcome.failures[0] and "--size" in outcome.failures[0]
    assert not (tmp_path / "large").exists()
