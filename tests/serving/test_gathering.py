"""Pictures that wait at the same time share a program run, and each gets its own drawing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tiny
from metastyle_jax.serving.gathering import Gathering
from metastyle_jax.stylization import small_pictures, tiling


@pytest.fixture(scope="module")
def params():
    return [tiny.parameters(seed) for seed in (1, 2)]


def picture(side, seed=0):
    return np.random.default_rng(seed).random((side, 40, 3), np.float32)


class Held:
    """Draws small pictures only when told to, and remembers how many came at once."""

    def __init__(self, monkeypatch):
        self.go_on, self.begun, self.counts = threading.Event(), threading.Event(), []
        self._stylize = small_pictures.stylize
        monkeypatch.setattr(small_pictures, "stylize", self)

    def __call__(self, weights, pictures, side, count):
        self.counts.append((len(pictures), count))
        self.begun.set()
        assert self.go_on.wait(60)
        return self._stylize(weights, pictures, side, count)


def line_of(gathering, count):
    """Wait until so many pictures wait."""
    while len(gathering._line) < count:
        pass


def test_what_waits_is_drawn_together_and_equals_what_is_drawn_alone(params, monkeypatch):
    held, gathering, weights = Held(monkeypatch), Gathering(3), params[0]["weights"]
    sides = (20, 33, 64, 16, 50, 28)

    def draw(index):
        return gathering.stylize(weights, [params[index % 2]["style"]], picture(sides[index]))

    with ThreadPoolExecutor(len(sides)) as pool:
        futures = [pool.submit(draw, 0)]
        assert held.begun.wait(60)
        futures += [pool.submit(draw, index) for index in range(1, len(sides))]
        line_of(gathering, len(sides) - 1)
        held.go_on.set()
        drawn = [future.result(60) for future in futures]
    assert held.counts == [(1, 1), (3, 3), (2, 3)]
    assert gathering.batches == 3
    for index, each in enumerate(drawn):
        style = params[index % 2]["style"]
        np.testing.assert_allclose(
            each, tiling.stylize(weights, [style], picture(sides[index])), atol=1e-5
        )


def test_other_weights_and_other_sides_are_drawn_apart(params, monkeypatch):
    held, gathering = Held(monkeypatch), Gathering(4)
    asked = [(0, 20), (0, 20), (1, 20), (0, 100)]

    def draw(which, side):
        return gathering.stylize(params[which]["weights"], [params[0]["style"]], picture(side))

    with ThreadPoolExecutor(len(asked)) as pool:
        futures = [pool.submit(draw, *asked[0])]
        assert held.begun.wait(60)
        futures += [pool.submit(draw, *each) for each in asked[1:]]
        line_of(gathering, 3)
        held.go_on.set()
        shapes = [future.result(60).shape for future in futures]
    assert held.counts == [(1, 1)] * 4
    assert shapes == [(side, 40, 3) for _, side in asked]


def test_an_error_reaches_all_whom_it_concerns_and_the_next_is_drawn(params, monkeypatch):
    gathering, weights, style = Gathering(2), params[0]["weights"], params[0]["style"]
    stylize = small_pictures.stylize

    def fail(*_):
        raise MemoryError("no memory")

    monkeypatch.setattr(small_pictures, "stylize", fail)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(gathering.stylize, weights, [style], picture(20)) for _ in range(3)]
        errors = [future.exception(60) for future in futures]
    assert [str(error) for error in errors] == ["no memory"] * 3
    monkeypatch.setattr(small_pictures, "stylize", stylize)
    assert gathering.stylize(weights, [style], picture(20)).shape == (20, 40, 3)
    assert not gathering._line


def test_large_pictures_and_refusals(params, monkeypatch):
    gathering, weights, style = Gathering(2), params[0]["weights"], params[0]["style"]
    large = np.random.default_rng(0).random((20, 530, 3), np.float32)
    drawn = gathering.stylize(weights, [style], large)
    np.testing.assert_array_equal(drawn, tiling.stylize(weights, [style], large))
    assert gathering.batches == 0
    with pytest.raises(ValueError, match="16"):
        gathering.stylize(weights, [style], picture(8))

    def late(_):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        gathering.stylize(weights, [style], picture(20), progress=late)
    assert not gathering._line
    assert gathering.stylize(weights, [style], picture(20)).shape == (20, 40, 3)
    assert not gathering._line


def test_compiled_before_the_first_picture(params, monkeypatch, programs):
    monkeypatch.setattr(small_pictures, "SIDES", (32, 64))
    gathering, weights, style = Gathering(2), params[0]["weights"], params[0]["style"]
    gathering.compile(weights, style)
    before = programs()
    for side in (20, 50):
        gathering.stylize(weights, [style], picture(side))
    assert programs() == before
