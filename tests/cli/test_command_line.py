"""What all commands share: their help, their mistakes, what they import and what they show."""

from __future__ import annotations

import logging
import re
import tomllib

import pytest
from PIL import Image

import adapt as adapt_program
import train as train_program
from metastyle_jax import __main__ as program
from metastyle_jax.cli import commands, configuration_flags, terminal
from metastyle_jax.cli.parsers import SUMMARIES
from metastyle_jax.errors import UserError
from metastyle_jax.settings import schema
from processes import ROOT, run


def test_the_installed_command_is_the_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"metastyle": "metastyle_jax.__main__:start"}


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_command_has_help_that_begins_with_its_summary(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main([name, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: metastyle {name} [-h]")
    summary = SUMMARIES[name]
    assert " ".join(shown.split()).count(f"{summary[0].upper()}{summary[1:]}.") == 1
    assert "default: None" not in shown and "==SUPPRESS==" not in shown


def test_studies_have_help_too(capsys):
    with pytest.raises(SystemExit):
        program.main(["study", "--help"])
    names = re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE)
    assert len(names) == 6
    for name in names:
        check_help_of_study(name, capsys)


def check_help_of_study(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["study", name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: metastyle study {name} [-h]" in capsys.readouterr().out


def test_the_help_of_all_names_each_command(capsys):
    with pytest.raises(SystemExit):
        program.main(["--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^    {name}\b", shown, re.MULTILINE) for name in SUMMARIES)


def test_the_help_of_train_lists_every_setting_with_default_and_meaning(capsys):
    with pytest.raises(SystemExit):
        train_program.main(["train.py", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for setting in schema.declared():
        assert f"--config.{setting.name}=" in shown
        assert " ".join(setting.help.split()) in shown
    assert "--config.objective.style_layers=relu1_2,relu2_2,relu3_3,relu4_3 " in shown
    assert "--config.data.tfds_dir='' " in shown


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "the following arguments are required: COMMAND; see metastyle --help"),
        (["styliz"], "there is no command 'styliz': use one of stylize, video, export, blend"),
        (["packs", "--all"], "metastyle packs has no flag --all; see metastyle packs --help"),
        (["packs", "all"], "metastyle packs has no argument all;"),
        (["packs", "--al"], "has no flag --al"),
        (["stylize", "a.safetensors"], "the following arguments are required: PICTURES, --out"),
        (["adapt", "--steps=many"], "argument --steps: invalid int value: 'many'"),
        (["adapt", "--parameters=some"], "invalid choice: 'some'"),
        (["adapt", "--step=3"], "metastyle adapt has no flag --step=3"),
        (["adapt", "--noise=2"], "--noise must be between 0 and 1, got 2"),
        (["stylize", "pack:oiran", "a.jpg", "--out=x", "--noise=2"], "--noise must be between 0"),
        (["train", "--config=configs/smoke.py"], "--workdir is missing: give, for example, --work"),
        (["train", "--workdir=never"], "--config is missing: give, for example, --config=configs/"),
        (["train", "--config=configs/smoke.py", "--wokdir=never"], "wokdir"),
        (["study"], "STUDY; see metastyle study --help"),
    ],
)
def test_mistakes_are_one_sentence_and_code_2(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stopped:
        program.main(arguments)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and message in line and not captured.out


LONG = "x" * 300
PACK = "pack:starry_night"
ONE_DEVICE = "--config.parallel.devices=1"  # of the four of this suite


@pytest.mark.parametrize(
    "command",
    [
        f"stylize {LONG} photo.png --out=o",
        f"stylize {PACK} {LONG}.safetensors photo.png --out=o",
        f"stylize {PACK} {LONG}/{LONG} --out=o",
        f"stylize {PACK} photo.png --out={LONG}",
        f"stylize {PACK} photo.png --out=o --mask {LONG}",
        f"stylize {PACK} photo.png --out=o --init={LONG}",
        f"stylize {PACK} photo.png --out=o --init={LONG}@3",
        f"video {PACK} {LONG} --out=o.mp4",
        f"video {PACK} photo.png --out={LONG}.mp4",
        f"export {LONG}.safetensors --format=npz --out=o",
        f"export {PACK} --format=npz --out={LONG}",
        f"export {LONG} --format=web --out=o",
        f"export {PACK} --format=web --out=o --runtime={LONG}",
        f"blend {LONG} {PACK} --out=o.safetensors",
        f"blend {PACK} {PACK} --out={LONG}.safetensors",
        f"grid {PACK} {LONG} --out=o.png",
        f"inspect {LONG} {LONG}.safetensors",
        f"adapt --style={LONG} --content=photo.png",
        f"adapt --style=photo.png --content=photo.png --out={LONG}",
        f"adapt --style=photo.png --content=photo.png --features=vgg16:{LONG}",
        f"adapt --style=photo.png --content=photo.png --features=vgg16:{LONG}.pth",
        f"optimize --content={LONG} --style=photo.png --out=o",
        f"train --config=smoke.py --workdir=o {ONE_DEVICE} --config.data.style={LONG}",
        f"prepare {LONG} --name=a --out=o",
        f"prepare . --name=a --out={LONG}",
        f"evaluate --init=embedded --styles={LONG} --contents=. --out=o",
        f"report {LONG}",
    ],
    ids=lambda command: command.replace(LONG, "LONG"),
)
def test_names_that_no_file_can_have_are_one_sentence(command, tmp_path, monkeypatch):
    """pathlib's questions about files raise an error for more than 255 bytes."""
    for needs, package in (("video", "av"), ("--format=web", "onnx")):
        if needs in command:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    command = command.replace("smoke.py", f"{ROOT}/configs/smoke.py")
    with pytest.raises(UserError) as error:
        commands.main(command.split())
    assert LONG in str(error.value) and error.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_the_entry_points_are_the_commands(monkeypatch):
    ran = []
    monkeypatch.setattr(commands, "main", ran.append)
    train_program.main(["train.py", "--resume"])
    adapt_program.main(["adapt.py", "--steps=3"])
    assert ran == [["train", "--resume"], ["adapt", "--steps=3"]]


def test_flags_of_train_and_settings_come_apart():
    flags = ["--config=configs/smoke.py", "--config.inner.steps=3", "--workdir=runs/a", "--resume"]
    args = commands.parse(["train", *flags])
    assert (str(args.workdir), args.resume) == ("runs/a", True)
    assert args.settings == flags[:2]
    assert args.command_line == f"metastyle train {' '.join(flags)}"
    with pytest.raises(UserError, match="'more' is no flag"):
        configuration_flags.parse_config([f"--config={ROOT / 'configs/smoke.py'}", "more"])


def test_packs_imports_no_jax():
    program = (
        "import sys\n"
        "from metastyle_jax.__main__ import main\n"
        "main(['packs'])\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'jax', 'numpy', 'PIL', 'flax'}, loaded\n"
    )
    done = run(["-c", program], ROOT)
    assert done.returncode == 0, done.stderr
    assert "pack:starry_night" in done.stdout


def test_what_is_logged_is_shown_once_on_the_right_stream(capsys):
    terminal.hide_log()
    logger = logging.getLogger("metastyle_jax.training.anything")
    logger.info("hidden %d", 0)
    program.main(["packs"])  # a command shows it
    terminal.show_log()
    logger.info("step 1/2")
    logger.warning("warning: it rises")
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1:] == ["step 1/2"] and "hidden" not in captured.out
    assert captured.err == "warning: it rises\n"
