"""Huge pages: when a process begins again, and that it does so with its own command line."""

from __future__ import annotations

import os
import sys

import pytest

import processes
from metastyle_jax.runtime import huge_pages


class Begun(Exception):
    pass


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A Linux that asks for huge pages where it is told to."""
    kernel = tmp_path / "enabled"
    kernel.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_KERNEL", kernel)
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.35", raising=False)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "train.py", "--resume"])
    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)

    def execve(program, arguments, environment):
        raise Begun(program, arguments, environment[huge_pages.VARIABLE])

    monkeypatch.setattr(os, "execve", execve)
    return kernel


def test_the_process_begins_again_with_the_same_command_line(machine):
    with pytest.raises(Begun) as begun:
        huge_pages.begin_again()
    arguments = [sys.executable, "-X", "dev", "train.py", "--resume"]
    assert begun.value.args == (sys.executable, arguments, "glibc.malloc.hugetlb=1")


@pytest.mark.parametrize("value", ["", "glibc.malloc.hugetlb=1", "glibc.malloc.check=0"])
def test_what_the_user_said_stays(machine, monkeypatch, value):
    monkeypatch.setenv(huge_pages.VARIABLE, value)
    huge_pages.begin_again()


@pytest.mark.parametrize("library", ["glibc 2.34", "glibc 1.99", "musl 1.2", None])
def test_another_library_is_not_asked(machine, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda _: library, raising=False)
    huge_pages.begin_again()


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]", None])
def test_another_kernel_is_not_asked(machine, text):
    machine.unlink() if text is None else machine.write_text(text)
    huge_pages.begin_again()


def test_a_debugger_keeps_its_process(machine, monkeypatch):
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    huge_pages.begin_again()


def test_a_process_that_cannot_begin_again_goes_on(machine, monkeypatch):
    def fail(*_):
        raise OSError

    monkeypatch.setattr(os, "execve", fail)
    huge_pages.begin_again()


def test_what_doctor_says(machine, monkeypatch):
    monkeypatch.setenv(huge_pages.VARIABLE, huge_pages.SETTING)
    assert huge_pages.described().startswith("huge")
    monkeypatch.setenv(huge_pages.VARIABLE, "")
    assert huge_pages.described().startswith("small")
    machine.write_text("[always] madvise never")
    assert huge_pages.described() == "as the system gives them"


def test_a_command_ends_as_if_it_had_begun_once(tmp_path, monkeypatch):
    monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
    ended = processes.run(["-m", "metastyle_jax", "packs", "--no-such-flag"], tmp_path)
    assert ended.returncode == 2 and "--no-such-flag" in ended.stderr
    code = (
        "import os, sys\n"
        "from metastyle_jax.runtime import huge_pages\n"
        "huge_pages.begin_again()\n"
        "print(sys.argv, os.environ.get(huge_pages.VARIABLE))\n"
    )
    ended = processes.run(["-c", code, "a b", "'c'"], tmp_path)
    setting = huge_pages.SETTING if huge_pages.can_be_asked_for() else None
    assert ended.stdout == f"['-c', 'a b', \"'c'\"] {setting}\n"
