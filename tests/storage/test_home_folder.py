"""~ in front of what a user names: a home folder, or a part of the name."""

from __future__ import annotations

from pathlib import Path

import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.storage import atomic, folder_lock, home_folder, initialization


def test_the_home_folder_is_put_in_front(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_folder.expanded("~") == tmp_path
    assert home_folder.expanded(Path("~/runs/a")) == tmp_path / "runs" / "a"
    assert home_folder.expanded("runs/~a") == Path("runs/~a")


@pytest.mark.parametrize("name", ["~draft.safetensors", "~nobody-of-that-name/x", "~\udce9/x"])
def test_what_is_no_home_folder_stays_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert home_folder.expanded(name) == Path(name)
    with folder_lock.locked(name):
        assert (atomic.prepare_folder(name) / folder_lock.NAME).is_file()
    with pytest.raises(UserError, match=r"there is no (file|initialization)"):
        initialization.load(f"{name}.gone")
