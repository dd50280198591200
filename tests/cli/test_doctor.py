"""`metastyle doctor` on a sound installation, and on one with a damaged file."""

from __future__ import annotations

import shutil

import pytest

from metastyle_jax.cli import commands, doctor
from metastyle_jax.errors import UserError
from metastyle_jax.runtime import compilation_cache
from metastyle_jax.storage import style_packs


@pytest.mark.usefixtures("standard_promotion")
def test_a_sound_installation(capsys, monkeypatch):
    monkeypatch.setattr(compilation_cache, "enable", lambda: None)
    commands.main(["doctor"])
    shown = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines()[2:])
    assert list(shown) == [
        "extras",
        "devices",
        "memory pages",
        "convolutions",
        "feature networks",
        "shipped files",
        "compiled programs",
        "drawing",
    ]
    assert shown["shipped files"].endswith(f"{len(style_packs.index())} packs are whole")
    assert "compact" in shown["feature networks"]
    # as in every test
    assert shown["compiled programs"] == "not kept: JAX_ENABLE_COMPILATION_CACHE turns that off"
    assert shown["drawing"].startswith("64 px in ")


def test_a_damaged_pack_is_named(tmp_path, monkeypatch):
    shutil.copytree(style_packs.folder(), tmp_path / "packs")
    victim = tmp_path / "packs" / f"{style_packs.index()[3].name}.safetensors"
    data = bytearray(victim.read_bytes())
    data[-100] ^= 1
    victim.write_bytes(data)
    monkeypatch.setattr(style_packs, "folder", lambda: tmp_path / "packs")
    with pytest.raises(UserError, match=victim.name):
        doctor._shipped()


def test_an_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert "video not installed" in doctor._extras()
