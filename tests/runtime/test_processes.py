"""Several processes: they reach what one reaches, stop together, and miss one that dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from metastyle_jax.cli import commands
from metastyle_jax.errors import ProcessDefect, ProcessError, UserError
from metastyle_jax.runtime import processes as group
from metastyle_jax.storage import checkpoint_files
from processes import QUICK_COMPILE, ROOT


def together(test):
    """Each process compiles: minutes, on two cores. `.ci/run` runs these, plain pytest does not."""
    return pytest.mark.slow(pytest.mark.processes(test))


WORKER = Path(__file__).with_name("group_worker.py")
SETTINGS = {
    "data.content": "procedural:8",
    "data.style": "procedural:8",
    "data.image_size": 16,
    "data.threads": 0,
    "model.width": 4,
    "model.residual_blocks": 1,
    "features.network": "compact",
    "objective.content_layers": "('relu1_2',)",
    "objective.style_layers": "('relu1_1','relu1_2')",
    "objective.normalize": True,
    "batch.styles": 4,
    "batch.contents": 1,
    "log.every": 2,
    "log.sheet_every": 0,
    "checkpoint.keep": 100,
}


def start(arguments: list, *, devices: int, log: Path) -> subprocess.Popen:
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK_COMPILE['XLA_FLAGS']}"
    environment = {
        **os.environ,
        **QUICK_COMPILE,
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", WORKER.parent))),
    }
    command = [sys.executable, *map(str, arguments)]
    with log.open("w") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )


def coordinator() -> str:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return f"localhost:{probe.getsockname()[1]}"


def train(folder: Path, count: int, *settings: str, **changes: object) -> list[subprocess.Popen]:
    """`count` processes with two devices each; output in `out_0` and so on."""
    flags = [f"--config.{name}={value}" for name, value in (SETTINGS | changes).items()]
    arguments = ["train.py", "--config=configs/default.py", f"--workdir={folder / 'run'}"]
    place = coordinator()
    return [
        start(
            [
                *[*arguments, *flags, *settings],
                *[f"--coordinator={place}", f"--processes={count}", f"--process-id={number}"],
            ],
            devices=2,
            log=folder / f"out_{number}",
        )
        for number in range(count)
    ]


def wait(group: list[subprocess.Popen], seconds: float = 300) -> list[int]:
    try:
        return [process.wait(timeout=seconds) for process in group]
    finally:
        for process in group:
            process.kill()


def said(folder: Path, number: int) -> str:
    return (folder / f"out_{number}").read_text(errors="replace")


def wait_for(text: str, folder: Path, group: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + 240
    while text not in said(folder, 0):
        assert all(process.poll() is None for process in group), said(folder, 0)
        assert time.monotonic() < deadline, said(folder, 0)
        time.sleep(0.1)


def saved(folder: Path, step: int) -> dict[str, np.ndarray]:
    checkpoint = folder / "run" / "checkpoints" / str(step)
    return checkpoint_files.read_arrays(checkpoint, checkpoint_files.read_record(checkpoint))


@together
def test_processes_reach_what_one_reaches(tmp_path):
    """Twenty second-order steps on the same batches in float64, with both wrappers."""
    reached = {}
    # compiling takes the time, in each process: pmap is one process of four in test_sharding
    for count, devices, kinds in (
        (1, 4, "shard_map"),
        (2, 2, "shard_map,pmap"),
        (4, 1, "shard_map"),
    ):
        out = tmp_path / f"{count}"
        out.mkdir()
        place = coordinator()
        group = [
            start(
                [WORKER, out, kinds, *([place, count, number] if count > 1 else [])],
                devices=devices,
                log=out / f"out_{number}",
            )
            for number in range(count)
        ]
        assert wait(group) == [0] * count, said(out, 0)
        for kind in kinds.split(","):
            reached[count, kind] = dict(np.load(out / f"{kind}.npz"))
    expected = reached[1, "shard_map"]
    for arrays in reached.values():
        for name, array in arrays.items():
            assert array.dtype == np.float64
            np.testing.assert_allclose(array, expected[name], rtol=1e-7, atol=1e-7, err_msg=name)


@together
def test_a_signal_to_one_stops_all_and_they_resume_bit_for_bit(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    group = train(parts, 2, **{"outer.steps": 10_000})
    wait_for("step 4/", parts, group)
    group[1].send_signal(signal.SIGTERM)
    assert wait(group) == [130, 130]
    assert "stopped after step" in said(parts, 0) and "finishing this step" in said(parts, 1)
    (stopped,) = [int(path.name) for path in (parts / "run" / "checkpoints").iterdir()]
    last = stopped + 4
    assert wait(train(parts, 2, "--resume", **{"outer.steps": last})) == [0, 0], said(parts, 0)
    assert f"resumed from the checkpoint of step {stopped}" in said(parts, 0)
    assert wait(train(whole, 2, **{"outer.steps": last})) == [0, 0], said(whole, 0)
    resumed, expected = saved(parts, last), saved(whole, last)
    assert resumed.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    # the other processes write nothing, and say nothing that process 0 says
    assert "step 2/" not in said(whole, 1)


@together
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_other(tmp_path, victim):
    group = train(tmp_path, 2, **{"outer.steps": 10_000, "checkpoint.every": 2})
    wait_for("step 4/", tmp_path, group)
    group[victim].kill()
    begun = time.monotonic()
    other = group[1 - victim].wait(timeout=100)
    assert other not in (0, None) and time.monotonic() - begun < 60
    message = said(tmp_path, 1 - victim)
    assert "another process ended" in message or "another task died" in message
    assert saved(tmp_path, 2)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--processes=2"], "--coordinator and --process-id missing"),
        (["--coordinator=h:1", "--processes=2", "--process-id=2"], "is not one of --processes=2"),
        (["--coordinator=h", "--processes=2", "--process-id=0"], "is not HOST:PORT"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags, message, tmp_path):
    with pytest.raises(UserError, match=message):
        commands.main(["train", "--config=configs/default.py", f"--workdir={tmp_path}", *flags])


@pytest.mark.parametrize(
    "error, raised, message, traced",
    [
        (UserError("no such folder"), ProcessError, "process 1 of 2: no such folder", False),
        (OSError(28, "No space left", "a/b"), ProcessError, r"No space left: 'a/b'", False),
        (RuntimeError("Gloo: connection reset"), ProcessError, "another process ended", False),
        (ValueError("a defect"), ProcessDefect, "process 1 of 2 failed: ValueError", True),
        (ZeroDivisionError(), ProcessDefect, "failed: ZeroDivisionError", True),
    ],
)
def test_any_error_ends_a_process_at_once(error, raised, message, traced, monkeypatch, capsys):
    """A `ProcessError` ends it without a teardown that waits for the others."""
    monkeypatch.setattr(group, "_meet", lambda launch: None)
    monkeypatch.setattr(group, "several", lambda: True)
    monkeypatch.setattr(group, "name", lambda: "process 1 of 2")
    with pytest.raises(raised, match=message) as caught, group.joined(group.Launch()):
        raise error
    assert caught.value.exit_code == (1 if raised is ProcessDefect else 2)
    assert ("Traceback" in capsys.readouterr().err) == traced
