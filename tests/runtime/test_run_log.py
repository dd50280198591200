"""What a training records, read back by TensorBoard's own reader of the format; a full disk."""

from __future__ import annotations

import errno
import json
import struct
import sys
import types

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from metastyle_jax.errors import UserError
from metastyle_jax.reporting import event_file, wandb_run
from metastyle_jax.runtime.run_log import RunLog


def log(folder, start_step=0, boards=()):
    return RunLog(
        folder,
        start_step=start_step,
        total_steps=9,
        images_per_step=1,
        describe=lambda values: " ".join(values),
        boards=boards,
    )


def events(folder):
    """Records of TensorBoard: length, checksum, bytes, checksum."""
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_metrics_and_pictures_reach_both_records(tmp_path):
    with log(tmp_path) as first:
        first.metrics(1, {"loss": 2.5})
        first.sheet(1, np.zeros((4, 6, 3), np.float32))
    assert records(tmp_path) == [{"step": 1, "loss": 2.5}]
    found = [(e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert (1, "loss", 2.5) in found and any(tag == "sheet" for _, tag, _ in found)
    with log(tmp_path, start_step=1):
        pass
    assert [e.step for e in events(tmp_path) if e.HasField("session_log")] == [2]


class FakeWandb(types.ModuleType):
    """Keeps what it gets; `failing` refuses to begin."""

    class Error(Exception):
        pass

    def __init__(self, failing=False):
        super().__init__("wandb")
        self.begun, self.logged, self.alerts, self.ends = [], [], [], 0
        self.failing, self.errors = failing, types.SimpleNamespace(Error=self.Error)
        self.Image = lambda pixels: pixels

    def init(self, **options):
        if self.failing:
            raise self.Error("no API key.\nmore")
        self.begun.append(options)
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def alert(self, title, text):
        self.alerts.append((title, text))

    def finish(self):
        self.ends += 1


def test_a_run_of_wandb_gets_it_too_and_goes_on_when_resumed(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (1, 2):
        board = wandb_run.WandbRun("styles", tmp_path, {"inner.steps": 1})
        with log(tmp_path, start_step=step - 1, boards=[board]) as run:
            run.metrics(step, {"loss": 2.5})
            run.validation(step, {"adaptation_loss_0": 4.0}, "said")
            run.sheet(step, np.full((4, 6, 3), 0.5, np.float32))
            run.warn(step, {"loss": 2.5}, "odd")
    first, second = fake.begun
    assert first["project"] == "styles" and first["config"] == {"inner.steps": 1}
    assert first["id"] == second["id"] and second["resume"] == "allow"
    assert fake.ends == 2 and [text for _, text in fake.alerts] == ["odd", "odd"]
    assert fake.logged[:2] == [(1, {"loss": 2.5}), (1, {"adaptation_loss_0": 4.0})]
    assert fake.logged[2][1]["sheet"].dtype == np.uint8


def test_a_wandb_that_cannot_be_used_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(failing=True))
    with pytest.raises(UserError, match=r"wandb=styles cannot be used \(no API key\): log in"):
        wandb_run.WandbRun("styles", tmp_path, {})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="needs wandb: pip install wandb"):
        wandb_run.WandbRun("styles", tmp_path, {})


def test_warnings_are_part_of_the_record_of_their_step(tmp_path, capsys):
    with log(tmp_path) as run:
        run.warn(2, {"loss": 1.0}, "odd")
        run.metrics(2, {"loss": 1.0})
        run.warn(3, {"loss": 5.0}, "worse")  # a step without a record of its own
        run.metrics(5, {"loss": 6.0})
        run.warn(6, {"loss": 7.0}, "worst")
    found = [(each["step"], each["loss"], each.get("warnings")) for each in records(tmp_path)]
    assert found == [(2, 1, ["odd"]), (3, 5, ["worse"]), (5, 6, None), (6, 7, ["worst"])]
    assert capsys.readouterr().err.splitlines()[0] == "warning: step 2: odd"
    tags = [value.tag for event in events(tmp_path) for value in event.summary.value]
    assert sum("warnings" in tag for tag in tags) == 3


def test_a_full_disk_is_one_sentence_and_nothing_waits(tmp_path, monkeypatch):
    """tensorboardX's thread used to end with a trace, and the training waited for it for ever."""

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*tensorboard: no space left"):  # noqa: SIM117
        with log(tmp_path) as run:
            monkeypatch.setattr(event_file.event_file_writer.EventsWriter, "write_event", full)
            for step in range(1, 30):
                run.metrics(step, {"loss": 1.0})
    assert [record["step"] for record in records(tmp_path)] == [1]
