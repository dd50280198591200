"""Compiler options: chosen for the platform, absent where XLA does not know them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metastyle_jax.networks import convolution
from metastyle_jax.runtime import compilation


@pytest.fixture
def forgotten():
    """`options` looked up anew before and after the test."""
    compilation.options.cache_clear()
    yield
    compilation.options.cache_clear()


def test_large_convolutions_are_left_to_eigen():
    """The program of a plain `jax.jit` has them as YNNPACK fusions, which take thrice the time."""
    if not compilation.options():
        pytest.skip("this version of XLA has no such option")
    x, kernel = np.ones((4, 34, 34, 32), np.float32), np.ones((3, 3, 32, 32), np.float32)
    programs = [
        jit(convolution.convolve).lower(x, kernel).compile().as_text()
        for jit in (jax.jit, compilation.jit)
    ]
    assert ["ynn_fusion" in program for program in programs] == [True, False]


def test_jit_computes_what_the_function_computes():
    doubled = compilation.jit(lambda x, *, times: times * x, static_argnames="times")
    np.testing.assert_array_equal(doubled(jnp.arange(3.0), times=2), [0, 2, 4])
    assert "multiply" in doubled.lower(jnp.arange(3.0), times=2).as_text()


def test_nothing_is_compiled_or_asked_for_when_a_function_is_decorated(forgotten, monkeypatch):
    def fail() -> str:
        raise AssertionError("the backend was started")

    monkeypatch.setattr(jax, "default_backend", fail)
    decorated = compilation.jit(lambda x: x)
    with pytest.raises(AssertionError, match="backend was started"):
        decorated(1.0)


@pytest.mark.parametrize(
    ("backend", "known"), [("gpu", True), ("tpu", True), ("cpu", False)], ids=str
)
def test_no_options_elsewhere_nor_for_an_xla_that_does_not_know_them(
    backend, known, forgotten, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    if not known:
        monkeypatch.setattr(compilation, "_CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    assert compilation.options() == {}
    assert compilation.jit(functools.partial(jnp.add, 1))(1) == 2
