"""What `doctor --measure` found is kept for this kind of processor and used by later commands."""

from __future__ import annotations

import pytest

from metastyle_jax.networks import convolution_forms
from metastyle_jax.networks.convolution_forms import Forms
from metastyle_jax.runtime import compilation_cache, kept_forms

OTHER = Forms(winograd_channels=128, first_in_blocks=True)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METASTYLE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    convolution_forms.use(Forms())


def test_what_was_kept_is_used(cache):
    kept_forms.enable()
    assert convolution_forms.used() == Forms()
    assert kept_forms.described().endswith("(not measured here: metastyle doctor --measure)")
    path = kept_forms.keep(OTHER)
    assert list(cache.rglob("*.*")) == [path]
    kept_forms.enable()
    assert convolution_forms.used() == OTHER
    assert kept_forms.described() == (
        "Winograd from 128 channels, first 9x9 in blocks, last 9x9 in blocks, upsampling in phases "
        "(measured here)"
    )


def test_another_processor_has_its_own(monkeypatch):
    kept_forms.keep(OTHER)
    monkeypatch.setattr(compilation_cache, "processor", lambda: "cpu-another")
    assert kept_forms.load() is None


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_accelerators_do_not_use_it(monkeypatch, backend):
    kept_forms.keep(OTHER)
    monkeypatch.setattr(kept_forms.jax, "default_backend", lambda: backend)
    kept_forms.enable()
    assert convolution_forms.used() == Forms()
    assert kept_forms.described() == f"as the library of the {backend} chooses"


def test_several_processes_run_the_usual_program(monkeypatch):
    kept_forms.keep(OTHER)
    monkeypatch.setattr(kept_forms.jax, "process_count", lambda: 2)
    kept_forms.enable()
    assert convolution_forms.used() == Forms()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[64]",
        b"{}x",
        b'{"winograd_channels": -1}',
        b'{"winograd_channels": true}',
        b'{"first_in_blocks": 1}',
        b'{"of_another_version": true}',
    ],
)
def test_a_damaged_file_is_named_and_not_used(content, caplog):
    path = kept_forms.keep(OTHER)
    path.write_bytes(content)
    kept_forms.enable()
    assert convolution_forms.used() == Forms()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is not used, because it does not say how to compute convolutions: run metastyle "
        "doctor --measure again, or remove it"
    ]
