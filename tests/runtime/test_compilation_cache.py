"""Where compiled programs are kept, and when they are not."""

from __future__ import annotations

import jax
import pytest

import processes
from metastyle_jax.runtime import compilation_cache

SAMPLE = processes.ROOT / "metastyle_jax" / "assets" / "contents" / "lake.jpg"
STYLIZE = ("stylize", "pack:starry_night", str(SAMPLE), "--size=128")
SECONDS = "jax_persistent_cache_min_compile_time_secs"
FOLDER = "jax_compilation_cache_dir"


@pytest.fixture(autouse=True)
def usual_settings(monkeypatch, tmp_path):
    """Those of a user's session, put back afterwards; this suite keeps nothing on disk."""
    enabled, folder = jax.config.jax_enable_compilation_cache, jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.delenv("METASTYLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update(FOLDER, None)
    yield
    jax.config.update(FOLDER, folder)
    jax.config.update("jax_enable_compilation_cache", enabled)
    jax.config.update(SECONDS, seconds)


def test_programs_of_accelerators_are_kept_for_their_owner_alone(tmp_path):
    folder = compilation_cache.enable("gpu")
    assert folder == tmp_path / "cache" / "metastyle_jax" / "xla"
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_programs_of_the_cpu_are_kept_for_its_kind_and_this_version(tmp_path, monkeypatch):
    assert jax.default_backend() == "cpu"
    monkeypatch.setattr(compilation_cache.jaxlib.version, "__version__", "0.10.2")
    folder = compilation_cache.enable()
    assert folder.parent == tmp_path / "cache" / "metastyle_jax" / "xla"
    jax.config.update(FOLDER, None)
    assert compilation_cache.enable() == folder
    jax.config.update(FOLDER, None)
    monkeypatch.setattr(compilation_cache.jaxlib.version, "__version__", "0.12.0.1")
    assert compilation_cache.enable() != folder
    jax.config.update(FOLDER, None)
    monkeypatch.setattr(compilation_cache.jaxlib.version, "__version__", "0.10.2")
    read = compilation_cache.Path.read_text
    other = "model name : another\nflags : fpu avx\n"
    monkeypatch.setattr(
        compilation_cache.Path,
        "read_text",
        lambda path, *more: other if str(path) == "/proc/cpuinfo" else read(path, *more),
    )
    assert compilation_cache.enable() not in (None, folder)


@pytest.mark.parametrize("version", ["0.8.3", "0.9.2", "0.10.1"])
def test_programs_of_the_cpu_are_not_kept_where_loading_them_warns(tmp_path, monkeypatch, version):
    monkeypatch.setattr(compilation_cache.jaxlib.version, "__version__", version)
    assert compilation_cache.enable() is None
    assert compilation_cache.obstacle().startswith(f"jaxlib {version} cannot on CPUs, 0.10.2 and")
    assert jax.config.jax_compilation_cache_dir is None
    assert not list(tmp_path.iterdir())
    assert compilation_cache.obstacle("gpu") == ""


@pytest.mark.slow
@pytest.mark.skipif(
    not compilation_cache.enabled_on_cpu(), reason="jaxlib before 0.10.2 keeps no CPU programs"
)
def test_a_second_run_loads_what_the_first_compiled_and_draws_the_same(tmp_path):
    """In processes of their own, as a user runs it."""
    pictures, said = [], []
    for name in ("one", "two"):
        done = processes.run(
            ["-m", "metastyle_jax", *STYLIZE, f"--out={name}"],
            tmp_path,
            METASTYLE_CACHE=str(tmp_path / "cache"),
            JAX_ENABLE_COMPILATION_CACHE="true",
            JAX_LOGGING_LEVEL="DEBUG",
        )
        assert done.returncode == 0, done.stderr
        (picture,) = (tmp_path / name).iterdir()
        pictures.append(picture.read_bytes())
        said.append(done.stderr)
        kept = {file.name: file.read_bytes() for file in (tmp_path / "cache").rglob("*-cache")}
        if name == "one":
            first = kept
    assert first and kept == first
    assert pictures[0] == pictures[1]
    assert "Persistent compilation cache hit" not in said[0]
    assert said[1].count("Persistent compilation cache hit") == len(first)


def test_what_the_environment_says_wins(tmp_path):
    jax.config.update(FOLDER, "/elsewhere")
    assert compilation_cache.enable("gpu") is None
    assert jax.config.jax_compilation_cache_dir == "/elsewhere"
    jax.config.update(FOLDER, None)
    jax.config.update("jax_enable_compilation_cache", False)
    assert compilation_cache.enable("gpu") is None
    assert compilation_cache.obstacle("gpu") == "JAX_ENABLE_COMPILATION_CACHE turns that off"
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
    folder = tmp_path / "cache" / "metastyle_jax" / "xla"
    said = compilation_cache.obstacle("gpu")
    assert said == f"{folder} cannot be written, METASTYLE_CACHE names another folder"
