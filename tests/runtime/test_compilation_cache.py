"""Where compiled programs are kept, and when they are not."""

from __future__ import annotations

import jax
import pytest

from metastyle_jax.runtime import compilation_cache

FOLDER = "jax_compilation_cache_dir"


@pytest.fixture(autouse=True)
def usual_settings(monkeypatch, tmp_path):
    """Those of a user's session, put back afterwards; this suite keeps nothing on disk."""
    enabled, folder = jax.config.jax_enable_compilation_cache, jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("METASTYLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update(FOLDER, None)
    yield
    jax.config.update(FOLDER, folder)
    jax.config.update("jax_enable_compilation_cache", enabled)


def test_programs_of_accelerators_are_kept_for_their_owner_alone(tmp_path):
    folder = compilation_cache.enable("gpu")
    assert folder == tmp_path / "cache" / "metastyle_jax" / "xla"
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_programs_of_the_cpu_are_not(tmp_path):
    assert jax.default_backend() == "cpu"
    assert compilation_cache.enable() is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())


def test_what_the_environment_says_wins(tmp_path):
    jax.config.update(FOLDER, "/elsewhere")
    assert compilation_cache.enable("gpu") is None
    assert jax.config.jax_compilation_cache_dir == "/elsewhere"
    jax.config.update(FOLDER, None)
    jax.config.update("jax_enable_compilation_cache", False)
    assert compilation_cache.enable("gpu") is None
    assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("obstacle", ["a file", "a folder of somebody else"])
def test_a_folder_that_cannot_be_written_stops_nothing(obstacle, tmp_path, monkeypatch):
    if obstacle == "a file":
        (tmp_path / "cache").write_text("in the way")
    else:
        # root may write everywhere, so that permissions alone would not show it
        monkeypatch.setattr(compilation_cache.os, "access", lambda path, mode: False)
    assert compilation_cache.enable("gpu") is None
    assert jax.config.jax_compilation_cache_dir is None
