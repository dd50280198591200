"""The examples, shrunk: what they print is true of this code."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from derivatives import relative_error
from examples import sinusoid_maml, weight_decay

NUMBER = r"-?\d[\d.]*(?:e[+-]\d+)?"


def numbers_after(text: str, label: str) -> list[float]:
    """The numbers in the one line that begins with `label`."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(f"{label} ")]
    assert len(lines) == 1, f"{label!r} begins {len(lines)} lines of:\n{text}"
    return [float(number) for number in re.findall(NUMBER, lines[0].removeprefix(label))]


@pytest.fixture(scope="module")
def weight_decay_output() -> str:
    output = io.StringIO()
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        contextlib.redirect_stdout(output),
    ):
        weight_decay.main(rows=4000, steps=10, outer_steps=20, counts=(10, 100))
    return output.getvalue()


def test_exact_equals_reverse_and_finite_differences(weight_decay_output):
    (from_reverse,) = numbers_after(weight_decay_output, "reverse")
    (from_differences,) = numbers_after(weight_decay_output, "central differences")
    assert 0 <= from_reverse < 1e-10
    assert 0 <= from_differences < 1e-6


def test_memory_of_exact_is_flat_and_that_of_reverse_grows(weight_decay_output):
    few, many = numbers_after(weight_decay_output, "of exact")
    assert 0 < many < 1.1 * few
    few, many = numbers_after(weight_decay_output, "of reverse")
    assert many > 5 * few


def test_tuned_weight_decays_lower_the_loss_and_hit_the_spurious_features(weight_decay_output):
    for name in ("validation loss", "test loss"):
        before, after, _ = numbers_after(weight_decay_output, name)
        assert after < before - 0.02
    decays = {
        kind: numbers_after(weight_decay_output, f"weight decay of {kind} features:")
        for kind in weight_decay.KINDS
    }
    assert min(decays["spurious"]) > 10 * max(decays["informative"])


def test_a_start_for_sinusoids_is_learned(capsys, standard_promotion):
    sinusoid_maml.main(outer_steps=100)
    output = capsys.readouterr().out
    assert output.startswith(f"{len(jax.devices())} devices")
    random = numbers_after(output, "random")
    for name in ("first_order", "exact"):
        at_once, after_one, after_five = numbers_after(output, name)
        assert after_one < at_once
        assert after_one < 0.8 * random[1]
        assert after_five < 0.8 * random[2]


def test_several_devices_compute_the_gradient_of_one():
    devices = jax.devices()
    assert len(devices) > 1
    start, tasks = sinusoid_maml.init(), sinusoid_maml.make_tasks(2 * len(devices), seed=1)
    alone, together = (
        jax.tree.map(np.asarray, sinusoid_maml.parallel_gradient(group, steps=2)(start, tasks))
        for group in (devices[:1], devices)
    )
    assert relative_error(together, alone) < 1e-5


def test_the_code_of_the_page_runs(standard_promotion):
    page = Path(__file__).resolve().parents[2] / "docs" / "bilevel.md"
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(block, names)
    step = 1e-2
    at = [names["outer_loss"](h, names["training"], names["validation"]) for h in (step, -step)]
    assert float(names["gradient"]) == pytest.approx(float(at[0] - at[1]) / (2 * step), rel=1e-2)
    gradient_fn = names["parallel_gradient"](lambda a, tasks: (a * tasks).mean(), jax.devices())
    tasks = np.arange(2.0 * len(jax.devices()), dtype="float32")
    assert gradient_fn(1.0, tasks) == pytest.approx(tasks.mean())
    updates, _ = names["optimizer"].update(names["fast"], names["optimizer"].init(names["fast"]))
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.1, rtol=1e-6)
