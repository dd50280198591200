"""Which forms a machine should use, from given times, and that a step is really measured."""

from __future__ import annotations

import pytest

from metastyle_jax.adaptation import convolution_timing
from metastyle_jax.adaptation.convolution_timing import USUAL
from metastyle_jax.cli import commands
from metastyle_jax.networks import convolution_forms
from metastyle_jax.runtime import compilation_cache, kept_forms

FIRST = USUAL._replace(first_in_blocks=True)
FEW = USUAL._replace(winograd_channels=32)
NEVER = USUAL._replace(winograd_channels=0)
BOTH = USUAL._replace(winograd_channels=32, first_in_blocks=True)


@pytest.mark.parametrize(
    ("gains", "together", "fastest"),
    [
        ({}, USUAL, USUAL),
        ({FIRST: 1.02}, USUAL, USUAL),
        ({FIRST: 1.2}, FIRST, FIRST),
        ({FIRST: 1.1, FEW: 1.2, NEVER: 1.05}, BOTH, BOTH),
        ({FIRST: 1.1, FEW: 1.5, BOTH: 1.3}, BOTH, FEW),
    ],
    ids=["none", "noise", "one", "two", "two that disturb each other"],
)
def test_the_fastest_forms_win(gains, together, fastest, monkeypatch):
    """Each form takes 1 / gain seconds; two together gain both unless said otherwise."""
    monkeypatch.setattr(convolution_timing, "_arguments", lambda size: None)
    monkeypatch.setattr(convolution_timing, "_compiled", lambda forms, arguments: forms)

    def seconds(programs, turns):
        both = gains.get(FIRST, 1) * gains.get(FEW, 1)
        return [1 / gains.get(forms, both if forms == BOTH else 1) for forms in programs]

    monkeypatch.setattr(convolution_timing.in_turns, "medians", seconds)
    ratios = dict(convolution_timing.measure())
    assert set(convolution_timing.ALTERNATIVES) <= set(ratios)
    assert convolution_timing.join(ratios) == together
    assert convolution_timing.fastest(ratios) == fastest


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_doctor_measures_a_step_and_keeps_the_result(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("METASTYLE_CACHE", str(tmp_path))
    monkeypatch.setattr(compilation_cache, "enable", lambda: None)
    measure, real = convolution_timing.measure, convolution_timing.in_turns.medians
    monkeypatch.setattr(convolution_timing, "measure", lambda: measure(32))
    monkeypatch.setattr(convolution_timing, "ALTERNATIVES", (NEVER,))
    timed = []

    def medians(programs, turns):
        assert len(real(programs, 1)) == 2  # they run
        timed.append(programs)
        return [1.5, 1.0]

    monkeypatch.setattr(convolution_timing.in_turns, "medians", medians)
    commands.main(["doctor", "--measure"])
    lines = capsys.readouterr().out.splitlines()
    assert len(timed) == 1
    assert lines[1].startswith("1.50 times as fast: no Winograd, ")
    assert str(kept_forms.path()) in lines[2]
    assert kept_forms.load() == NEVER
    assert convolution_forms.used() == USUAL, "what this process has compiled stays"
