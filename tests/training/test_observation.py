"""Adaptation curves beside a training, and what is left of a step that is not finite."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from test_training import tiny_config

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.data import device_cache, pipeline
from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import plain_adaptation, style_tasks
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.settings import configuration
from metastyle_jax.training import meta_training, replay, training_pictures

LAYERS = ("relu1_1", "relu1_2")


@pytest.fixture
def folders(tmp_path):
    """Ten contents and seven styles, each of one color, which is its number."""
    for kind, count in (("content", 10), ("style", 7)):
        (tmp_path / kind).mkdir()
        for number in range(count):
            picture = Image.new("RGB", (32, 32), (20 * number,) * 3)
            picture.save(tmp_path / kind / f"{number}.png")
    return tmp_path


@pytest.mark.usefixtures("float64", "standard_promotion")
def test_adaptation_is_adam_on_the_styles_alone():
    """Against optax on the sum of the losses, style by style."""
    objective = perceptual.Objective(content_layers=("relu1_2",), style_layers=LAYERS)
    task = StyleTask(objective, tiny.feature_network(LAYERS))
    params, batch, adam = tiny.meta_parameters(), tiny.batch(2, 1), optax.adam(1e-2)
    styles, opt_state, data = plain_adaptation.prepare(params, batch, task, adam)
    losses = []
    for _ in range(3):
        styles, opt_state, loss = plain_adaptation.step(params, styles, opt_state, data, adam)
        losses.append(loss)
    for row in range(2):
        alone = dataclasses.replace(batch, styles=batch.styles[row : row + 1])
        data, _ = style_tasks.support_and_query(task, alone)
        style = jax.tree.map(lambda x: x[None], params.style)
        state = adam.init(style)

        def loss_fn(style, data=data):
            return style_tasks.stylization_loss(params.weights, style, data)[0]

        for number in range(3):
            value, grads = jax.value_and_grad(loss_fn)(style)
            np.testing.assert_allclose(losses[number][row], value, rtol=1e-9)
            updates, state = adam.update(grads, state)
            style = optax.apply_updates(style, updates)
    assert jnp.all(losses[2] < losses[0])


@pytest.mark.usefixtures("standard_promotion")
def test_a_training_records_adaptation_curves_of_styles_it_does_not_see(folders):
    changes = {
        "validation__styles": str(folders / "style"),
        "validation__contents": str(folders / "content"),
        "validation__every": 2,
        "validation__count": 3,
        "validation__steps": 12,
    }
    meta_training.train(tiny_config(outer__steps=3, **changes), folders / "run")
    lines = (folders / "run" / "metrics.jsonl").read_text().splitlines()
    curves = [record for record in map(json.loads, lines) if "adaptation_loss_0" in record]
    assert [record.pop("step") for record in curves] == [2, 3]
    for curve in curves:
        assert list(curve) == ["adaptation_loss_0", "adaptation_loss_10", "adaptation_loss_12"]
        assert curve["adaptation_loss_12"] < curve["adaptation_loss_0"]
    assert curves[0] != curves[1]
    commands.main(["report", str(folders / "run")])
    assert "Loss of validation styles" in (folders / "run" / "report.html").read_text()


@pytest.mark.usefixtures("standard_promotion")
def test_validation_pictures_that_are_not_there_are_refused_before_the_first_step(folders):
    with pytest.raises(UserError, match="nowhere"):
        meta_training.train(tiny_config(validation__styles="nowhere"), folders / "run")
    assert not (folders / "run" / "metrics.jsonl").exists()


class Numbered:
    """Pictures whose color is their number."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return np.full((8, 8, 3), index, np.uint8)


@pytest.mark.parametrize("cached", [False, True])
def test_the_pictures_of_a_step_are_those_it_draws(cached):
    content, style = Numbered(10), Numbered(7)
    options = {"counts": (3, 4), "seed": 5}
    step = 6
    if cached:
        every = {
            kind: device_cache.Pictures(np.stack([s[i] for i in range(len(s))]), len(s))
            for kind, s in (("content", content), ("style", style))
        }
        crop = pipeline.Crop(8, 1, 1)
        batch = device_cache.draw(
            device_cache.Caches(**every), jnp.int32(step), counts=(3, 4), crop=crop, seed=5
        )
    else:
        crop = pipeline.Crop(8, 1, 1)
        batch = next(
            pipeline.batches(
                content,
                style,
                styles=3,
                contents=4,
                content_crop=crop,
                style_crop=crop,
                order=pipeline.Order(5, step),
            )
        )
    rows = (device_cache if cached else pipeline).rows(
        {"content": 10, "style": 7}, step=step, **options
    )
    for name in pipeline.STREAMS:
        drawn = np.rint(255 * np.asarray(getattr(batch, name))[:, 0, 0, 0]).astype(int)
        assert rows[name] == drawn.tolist()


def test_the_pictures_of_a_step_are_named_by_their_files(folders):
    config = configuration.read(
        tiny_config(data__content=str(folders / "content"), data__style="procedural:3")
    )
    names = replay.pictures(config, training_pictures.open_sources(config), 4)
    assert {name: len(found) for name, found in names.items()} == {
        "styles": 2,
        "support": 1,
        "query": 1,
    }
    rows = pipeline.rows({"content": 10, "style": 3}, counts=(2, 1), seed=0, step=3)
    for name in ("support", "query"):
        assert names[name] == [str(folders / "content" / f"{row}.png") for row in rows[name]]
    assert [name.split()[-1] for name in names["styles"]] == [str(row) for row in rows["styles"]]
