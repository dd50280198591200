"""One writer per folder: between processes, after kill -9, and where nothing can be locked."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.storage import folder_lock
from metastyle_jax.storage.folder_lock import locked


def holder(folder: Path) -> subprocess.Popen:
    """A process that holds `folder` until its standard input ends."""
    code = f"""
        import sys
        from metastyle_jax.storage.folder_lock import locked
        with locked({str(folder)!r}):
            print("held", flush=True)
            sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_in_use_names_the_process_and_what_to_do(tmp_path):
    with holder(tmp_path) as process:
        with pytest.raises(UserError) as error, locked(tmp_path):
            pytest.fail("it was held")
        text = str(error.value)
        assert f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()}" in text
        assert "choose another folder" in text and "\n" not in text
        process.stdin.close()
        process.wait()
        with locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / folder_lock.NAME).read_text().startswith(f"{process.pid} ")
    with locked(tmp_path):
        assert (tmp_path / folder_lock.NAME).read_text().startswith(f"{os.getpid()} ")


def test_a_file_that_another_boot_left_is_taken_over(tmp_path):
    """Its number may be that of a process which lives now."""
    (tmp_path / folder_lock.NAME).write_text(f"{os.getppid()} {socket.gethostname()}\n")
    with locked(tmp_path):
        pass


def test_this_process_cannot_hold_it_twice_and_an_error_releases_it(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        with pytest.raises(UserError, match=f"process {os.getpid()} "), locked(tmp_path):
            pass
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_a_folder_that_nothing_was_written_to_goes_again(tmp_path):
    with locked(tmp_path / "empty"):
        assert (tmp_path / "empty").is_dir()
    with locked(tmp_path / "used"):
        (tmp_path / "used" / "file").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_where_nothing_can_be_locked_it_goes_on_with_a_note(tmp_path, monkeypatch, capsys):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder_lock.fcntl, "flock", flock)
    with locked(tmp_path):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line and "No locks available" in line


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/file/run"):  # noqa: SIM117
        with locked(tmp_path / "file" / "run"):
            pass
