"""What a training records, read back by TensorBoard's own reader of the format; a full disk."""

from __future__ import annotations

import errno
import json
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from metastyle_jax.errors import UserError
from metastyle_jax.reporting import event_file
from metastyle_jax.runtime.run_log import RunLog


def log(folder, start_step=0):
    return RunLog(
        folder,
        start_step=start_step,
        total_steps=9,
        images_per_step=1,
        describe=lambda values: " ".join(values),
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
