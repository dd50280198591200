"""Pictures in device memory: their order, their crops, and the same batch on any devices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metastyle_jax.data import device_cache, resizing
from metastyle_jax.data.pipeline import Crop
from metastyle_jax.runtime import sharding

WHOLE = Crop(8, 1.0, 1.0, flip=False)


class Plain:
    """Pictures of one color, 10 x (number + 1); the ninth is float."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        picture = np.full((9, 12, 3), 10 * (index + 1), np.uint8)
        return (picture / 255).astype(np.float32) if index == 8 else picture


def caches(contents: int, styles: int) -> device_cache.Caches:
    kinds = (
        device_cache.Pictures(device_cache.read(Plain(n), range(n), 8), n)
        for n in (contents, styles)
    )
    return jax.tree.map(jnp.asarray, device_cache.Caches(*kinds))


def drawing(**options):
    return jax.jit(functools.partial(device_cache.draw, **options))


def pictures(images) -> list[int]:
    """Numbers of the pictures that crops are of."""
    return [round(value * 25.5) - 1 for value in np.asarray(images)[:, 0, 0, 0].tolist()]


def test_every_epoch_has_every_picture_once_in_another_order():
    kept = caches(9, 5)
    draw = drawing(counts=(2, 3), crop=WHOLE, seed=3)
    batches = [draw(kept, step) for step in range(30)]
    for name, count in (("styles", 5), ("support", 9), ("query", 9)):
        order = [n for batch in batches for n in pictures(getattr(batch, name))]
        epochs = [tuple(order[k : k + count]) for k in range(0, len(order) - count + 1, count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
        assert len(set(epochs)) > len(epochs) / 2
    assert any(pictures(batch.support) != pictures(batch.query) for batch in batches)
    # a batch larger than the data has whole epochs too
    many = device_cache.draw(kept, jnp.int32(1), counts=(12, 1), crop=WHOLE, seed=3)
    assert sorted(pictures(many.styles)[3:8]) == list(range(5))


def test_another_seed_is_another_order():
    kept, orders = caches(9, 5), []
    for seed in (0, 1):
        draw = drawing(counts=(2, 9), crop=WHOLE, seed=seed)
        orders.append([pictures(draw(kept, step).query) for step in range(2)])
    first, other = orders
    assert first != other and first[0] != first[1]


def line(values: np.ndarray) -> tuple[float, float]:
    """(slope, value at the left edge) of a ramp, from its middle, where no edge bends it."""
    places = np.arange(len(values))[8:-8]
    slope, first = np.polyfit(places + 0.5, values[8:-8], 1)
    return slope, first


def test_crops_are_those_of_pillow_and_within_the_picture():
    crop = Crop(32, 1.25, 2.0)
    side = device_cache.side_of(crop)
    assert side == 64
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    # red says the column, green the row: 2 for each pixel
    rows, columns = np.indices((side, side))
    ramp = np.stack([2 * columns + 61, 2 * rows + 61, 0 * rows], axis=-1).astype(np.uint8)
    draw = drawing(counts=(1, 1), crop=crop, seed=0)

    def crops(picture: np.ndarray, step: int) -> np.ndarray:
        kept = device_cache.Pictures(jnp.asarray(picture[None]), 1)
        return 255 * np.asarray(draw(device_cache.Caches(kept, kept), step).query[0])

    windows, flips = [], set()
    for step in range(12):
        seen = crops(ramp, step)
        across, left = line(seen[:, :, 0].mean(axis=0))
        down, top = line(seen[:, :, 1].mean(axis=1))
        flips.add(flip := bool(across < 0))
        if flip:
            left += 32 * across
        window, left, top = 16 * down, (left - 60) / 2, (top - 60) / 2
        assert abs(across) == pytest.approx(down, rel=0.01)
        assert side / 2.0 - 0.3 <= window <= side / 1.25 + 0.3
        assert min(left, top) >= -0.3 and max(left, top) + window <= side + 0.3
        windows.append(window)
        box = (max(left, 0), max(top, 0), min(left + window, side), min(top + window, side))
        expected = resizing.resample(noise, 32, 32, box)[:, :: -1 if flip else 1]
        # the box is known to a tenth of a pixel; other pictures are 60 away
        assert np.abs(crops(noise, step) - expected).mean() < 5
    assert flips == {True, False} and max(windows) - min(windows) > 5


@pytest.mark.parametrize(("styles", "contents", "devices"), [(4, 2, 4), (2, 4, 4), (3, 1, 1)])
def test_a_batch_is_the_same_on_any_devices(styles, contents, devices):
    counts, crop = (styles, contents), Crop(8, 1.0, 1.5)
    pixels = [
        np.random.default_rng(k).integers(0, 256, (n, 12, 12, 3), np.uint8)
        for k, n in enumerate((9, 5))
    ]
    parts = sharding.layout(styles, contents, devices)

    def step(state, kept, task):
        """Puts the whole batch together again."""
        batch = device_cache.draw(kept, state, counts=counts, crop=crop, seed=0, axes=parts.axes)
        axes = (parts.axes.styles, parts.axes.contents, parts.axes.contents)
        whole = [
            images if axis is None else jax.lax.all_gather(images, axis, tiled=True)
            for images, axis in zip(vars(batch).values(), axes, strict=True)
        ]
        return state + 1, dict(zip(vars(batch), whole, strict=True))

    chosen = jax.devices()[:devices]
    wrapped = sharding.parallelize(step, kind="shard_map", devices=chosen, parts=parts, cached=True)
    rows = [sharding.rows_here(len(part), chosen) for part in pixels]
    padded = [
        np.pad(part, [(0, len(range_) - len(part)), (0, 0), (0, 0), (0, 0)])
        for part, range_ in zip(pixels, rows, strict=True)
    ]
    kept = device_cache.Caches(
        *(
            device_cache.Pictures(wrapped.place_rows(part), n)
            for part, n in zip(padded, (9, 5), strict=True)
        )
    )
    alone = device_cache.Caches(
        *(device_cache.Pictures(jnp.asarray(part), len(part)) for part in pixels)
    )
    state, draw = wrapped.replicate(np.int32(0)), drawing(counts=counts, crop=crop, seed=0)
    for number in range(3):
        state, seen = wrapped.step(state, wrapped.place_batch(kept), wrapped.replicate(np.zeros(1)))
        for name, images in vars(draw(alone, number)).items():
            np.testing.assert_allclose(seen[name], images, atol=1e-5)


def test_rows_of_processes_follow_one_another(monkeypatch):
    class Device:
        def __init__(self, process_index: int) -> None:
            self.process_index = process_index

    devices = [Device(0), Device(0), Device(1), Device(1)]
    rows = []
    for process in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        rows.append(sharding.rows_here(10, devices))
    assert rows == [range(6), range(6, 12)]
    # rows beyond the last picture are black
    tail = device_cache.read(Plain(10), rows[1], 8)
    assert pictures(tail / 255) == [6, 7, 8, 9, -1, -1]
