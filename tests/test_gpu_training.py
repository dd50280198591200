"""The training of benchmarks/gpu_run.sh: crops cut on the device, and files to go on from."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.metalearning import outer_step
from metastyle_jax.metalearning.structures import MetaParameters

device_pictures = importlib.import_module("benchmarks.device_pictures")
training_state = importlib.import_module("benchmarks.training_state")

SIZE = 4


def test_crops_are_parts_of_different_pictures_and_some_are_mirrored():
    shapes = [(4, 9), (7, 4), (5, 6)]
    # each pixel names its picture, row and column
    arrays = [
        np.stack(np.broadcast_arrays(n, *np.indices(shape)), axis=-1).astype(np.uint8)
        for n, shape in enumerate(shapes)
    ]
    pictures = device_pictures.from_arrays(arrays)
    cut = jax.jit(lambda key: device_pictures.crops(pictures, key, 3, SIZE))
    mirrored, corners = set(), set()
    for seed in range(60):
        crops = np.rint(255 * np.asarray(cut(jax.random.key(seed)))).astype(int)
        assert sorted(crops[:, 0, 0, 0]) == [0, 1, 2]
        for crop in crops:
            number, top, left = crop[:, :, 0].max(), *crop[:, :, 1:].min(axis=(0, 1))
            expected = arrays[number][top : top + SIZE, left : left + SIZE]
            flip = crop[0, 0, 2] > crop[0, -1, 2]
            np.testing.assert_array_equal(crop, expected[:, ::-1] if flip else expected)
            mirrored.add(bool(flip))
            corners.add((int(number), int(top), int(left)))
    assert mirrored == {True, False}
    # no corner is out of reach: 6 and 4 in a row, 2 x 3
    assert len(corners) == 6 + 4 + 2 * 3


def state(fill: float) -> outer_step.TrainState:
    params = MetaParameters(
        {"conv1": {"kernel": jnp.full((9, 9, 3, 2), fill), "bias": jnp.full(2, fill)}},
        {"conv1_norm": {"scale": jnp.full(2, fill), "bias": jnp.full(2, fill)}},
    )
    new = outer_step.init_state(params, optax.chain(optax.adam(0.1), optax.scale(1.0)))
    moments = jax.tree.map(lambda leaf: leaf + int(10 * fill), new.opt_state)
    averages = {"style": {"relu1_1": jnp.full((), fill)}}
    return outer_step.TrainState(new.step + 7, params, moments, averages)


def test_a_training_goes_on_from_its_files_and_not_from_others(tmp_path, monkeypatch):
    monkeypatch.setattr(training_state, "LARGEST", 3000)  # bytes: so that there are several files
    saved = state(0.5)
    training_state.save(tmp_path, saved, {"step": 7}, "test")
    assert len(list(tmp_path.glob("moments_*"))) > 1
    loaded = training_state.load(tmp_path, state(0.25))
    assert jax.tree.structure(loaded) == jax.tree.structure(saved)
    jax.tree.map(np.testing.assert_array_equal, loaded, saved)
    (tmp_path / "moments_2.safetensors").unlink()
    with pytest.raises(UserError, match="is missing"):
        training_state.load(tmp_path, state(0.25))
