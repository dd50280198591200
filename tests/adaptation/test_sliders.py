"""Adapting a style with its sliders: what moves, what is written, what is drawn from it."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from PIL import Image

import metastyle_jax as ms
import tiny
from metastyle_jax.adaptation import alpha_draws, service
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError
from metastyle_jax.networks import adjuster
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization, safetensors_file, style_file

pytestmark = pytest.mark.usefixtures("standard_promotion")

LAYERS = ("relu1_1", "relu1_2")
SETTINGS = {
    "features.network": "compact",
    "objective.content_layers": ["relu1_2"],
    "objective.style_layers": list(LAYERS),
    "objective.style_weight": 3.0,
    "objective.normalize": True,
    provenance.NOISE: 0.05,
}
QUICK = {"steps": 3, "size": 32, "style_size": 32}
ALPHA = {"relu1_1": 0.9, "relu1_2": 0.1}


def picture(seed: int = 1, side: int = 32) -> np.ndarray:
    return np.asarray(tiny.images(1, side, side, seed=seed)[0], np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A parameter file with an adjuster whose every number is random."""
    params = tiny.parameters()
    moves = adjuster.init(jax.random.key(0), params["style"], inputs=2, hidden=5, layers=1, code=3)
    moves = jax.tree.map(lambda x, d: x + 0.1 * d, moves, tiny.like(moves))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), {**params, "adjuster": moves})
    path = tmp_path_factory.mktemp("sliders") / "start.safetensors"
    style_file.save_params(path, params, settings=SETTINGS)
    return path


@pytest.fixture(scope="module")
def adapted(file):
    with jax.numpy_dtype_promotion("standard"):
        return ms.adapt(picture(), [picture(2)], init=file, parameters="sliders", **QUICK)


def test_the_style_and_the_last_layer_move_and_nothing_else(file, adapted):
    start = initialization.load(str(file))
    jax.tree.map(np.testing.assert_array_equal, adapted.weights, start.params["weights"])
    for name, layer in adapted.sliders.adjuster.items():
        same = jax.tree.map(np.array_equal, layer, start.adjuster[name])
        assert all(jax.tree.leaves(same)) == (name != adjuster.OUTPUT)
    kernel = np.asarray(adapted.sliders.adjuster[adjuster.OUTPUT]["kernel"])
    # Adam's steps have the length of its rate, at most, and every number moves
    moved = np.abs(kernel - start.adjuster[adjuster.OUTPUT]["kernel"])
    assert 0 < moved.max() < 3.5e-2 and (moved > 0).mean() > 0.9
    style, before = adapted.sliders.style, start.params["style"]
    assert (style["conv1_norm"]["scale"] != before["conv1_norm"]["scale"]).all()


def test_a_mean_over_the_last_steps_is_reached(file):
    """The weight of step t is proportional to t (t + 1) (t + 2) (t + 3), by induction."""
    positions = np.random.default_rng(0).normal(size=(100, 3))
    mean = positions[0] + 7  # not read
    for step, position in enumerate(positions, 1):
        mean = alpha_draws.average({"style": mean}, {"style": position}, step)["style"]
        weights = [math.comb(number + 3, 4) for number in range(1, step + 1)]
        np.testing.assert_allclose(mean, np.average(positions[:step], axis=0, weights=weights))
    # so the last fifth has two thirds of the weight
    assert 0.6 < sum(weights[80:]) / sum(weights) < 0.7


def test_an_adaptation_shows_and_returns_the_mean(file):
    reached = []

    def kernel(stylizer):
        return np.asarray(stylizer.sliders.adjuster[adjuster.OUTPUT]["kernel"])

    start = service.start_from(ms.load(file))
    result = service.adapt(
        start,
        picture(),
        [picture(2)],
        service.Options(steps=2, parameters="sliders", size=32),
        on_step=lambda step, stylizer, metrics, seconds: reached.append(kernel(stylizer)),
    )
    np.testing.assert_array_equal(kernel(result.stylizer), reached[1])
    first, second = (each - kernel(start.stylizer) for each in reached)
    # 5/6 of the second step, which Adam makes as long as its rate of 0.005 at most
    assert np.abs(second - first).max() < 1.01 * 5 / 6 * 0.005
    assert 0.004 < np.abs(first).max() < 0.00501


def test_a_file_of_a_style_has_all_that_sliders_need(adapted, tmp_path):
    path = tmp_path / "style.safetensors"
    adapted.save(path)
    assert safetensors_file.read(path)[1]["format_version"] == "2"
    loaded = ms.load(path)
    np.testing.assert_array_equal(loaded(picture(3), alpha=ALPHA), adapted(picture(3), alpha=ALPHA))
    # without weights they are all 1
    np.testing.assert_array_equal(
        loaded(picture(3)), adapted(picture(3), alpha=dict.fromkeys(LAYERS, 1.0))
    )
    assert (loaded(picture(3), alpha=ALPHA) != loaded(picture(3))).any()
    plain = tmp_path / "plain.safetensors"
    adapted.at(ALPHA).save(plain)
    assert safetensors_file.read(plain)[1]["format_version"] == "1"
    assert style_file.load_adjuster(plain) is None
    np.testing.assert_array_equal(ms.load(plain)(picture(3)), adapted(picture(3), alpha=ALPHA))


def test_a_style_with_sliders_fits_into_200_kilobytes(tmp_path):
    """At the sizes of configs/meta_adjustable.py, with the network's default width."""
    from configs import meta_adjustable

    model = meta_adjustable.get_config().model
    style = tiny.parameters(width=32, residual_blocks=5)["style"]
    moves = adjuster.init(
        jax.random.key(0),
        style,
        inputs=4,
        hidden=model.adjuster,
        layers=model.adjuster_layers,
        code=model.adjuster_code,
    )
    style = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), style)
    path = tmp_path / "style.safetensors"
    style_file.save_style(path, style, weights_digest="", settings=SETTINGS, adjuster=moves)
    assert path.stat().st_size < 200_000


def test_an_adaptation_without_sliders_starts_where_they_all_stand_at_1(file):
    plain = ms.adapt(picture(), [picture(2)], init=file, learning_rate=1e-9, **QUICK)
    assert plain.sliders is None
    np.testing.assert_allclose(plain(picture(3)), ms.load(file)(picture(3)), atol=1e-5)


def test_a_start_without_sliders_has_none_to_adapt(file, tmp_path):
    params, _ = style_file.load_params(file)
    del params["adjuster"]
    path = tmp_path / "plain.safetensors"
    style_file.save_params(path, params, settings=SETTINGS)
    with pytest.raises(UserError, match="has no sliders to adapt: start from a network that was"):
        ms.adapt(picture(), [picture(2)], init=path, parameters="sliders", **QUICK)


def test_the_command_writes_a_sheet_of_the_sliders(file, tmp_path, capsys):
    for seed, name in enumerate(("style.png", "photo.png")):
        pixels = (255 * picture(seed, side=40)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    out = tmp_path / "out"
    arguments = [f"--init={file}", f"--out={out}", "--steps=2", "--size=32", "--style-size=32"]
    arguments += [f"--style={tmp_path / 'style.png'}", f"--content={tmp_path / 'photo.png'}"]
    commands.main(["adapt", "--adjustable", *arguments])
    assert "stylize" in capsys.readouterr().out and (out / "sliders.png").exists()
    style, photo = str(out / "style.safetensors"), str(tmp_path / "photo.png")
    commands.main(["stylize", style, photo, f"--out={out}", "--alpha=relu1_1:0.9,relu1_2:0.1"])
    drawn = np.asarray(Image.open(out / "photo.png"))
    expected = ms.load(style)(np.asarray(Image.open(photo)), alpha=ALPHA)
    np.testing.assert_array_equal(drawn, expected)
    with pytest.raises(UserError, match="--adjustable and --parameters both say what is adapted"):
        commands.main(["adapt", "--adjustable", "--parameters=all", *arguments])


def test_the_shipped_sliders_are_of_the_embedded_network(tmp_path):
    plain, adjustable = map(initialization.load, initialization.SHIPPED)
    assert adjustable.digest == plain.digest and adjustable.name == initialization.ADJUSTABLE
    for part, leaf in jax.tree.leaves_with_path(adjustable.params):
        np.testing.assert_array_equal(leaf, plain.params[part[0].key][part[1].key][part[2].key])
    assert plain.adjuster is None and adjuster.inputs(adjustable.adjuster) == 4
    # what is adapted from it is loaded again by its name
    stylizer = ms.load(initialization.ADJUSTABLE)
    stylizer.save(tmp_path / "style.safetensors")
    assert (tmp_path / "style.safetensors").stat().st_size < 200_000
    again = ms.load(tmp_path / "style.safetensors")
    assert again.record.weights_name == initialization.ADJUSTABLE
    weights = {"relu3_1": 0.2}
    np.testing.assert_array_equal(
        again.at(weights).params["style"]["conv1_norm"]["scale"],
        stylizer.at(weights).params["style"]["conv1_norm"]["scale"],
    )


def test_two_steps_in_a_row_see_opposite_corners():
    drawn = np.stack([alpha_draws.draw(np.int32(step), 3, 4) for step in range(1, 201)])
    assert drawn.shape == (200, 1, 3, 4) and set(np.unique(drawn)) == {0, 1}
    np.testing.assert_array_equal(drawn[::2] + drawn[1::2], 1)
    corners = drawn[::2].reshape(-1, 4)
    assert len(np.unique(corners, axis=0)) == 16
    # each weight is as often 0 as 1, within five standard deviations, whatever the others are
    correlation = np.corrcoef(corners.T)
    assert np.abs(correlation - np.eye(4)).max() < 5 / np.sqrt(len(corners))
    assert abs(corners.mean() - 0.5) < 5 * 0.5 / np.sqrt(corners.size)
