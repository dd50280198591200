"""The one way to adapt: what it hands to the loop, and what it records."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import tiny
from metastyle_jax.adaptation import service, style_adaptation
from metastyle_jax.data import pipeline
from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization.stylizer import Record, Stylizer

pytestmark = pytest.mark.usefixtures("standard_promotion")
OBJECTIVE = perceptual.Objective(content_layers=("relu1_2",), style_layers=("relu1_1",))
OPTIONS = service.Options(steps=3, size=16, seed=5, batch=2)


@pytest.fixture(scope="module")
def start() -> service.Start:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters())
    record = Record("runs/a", {"seed": 7}, "runs/a@40", tree_digest(params["weights"]))
    network = tiny.feature_network(OBJECTIVE.layers, dtype=np.float32)
    return service.Start(Stylizer(**params, input_noise=0.1, record=record), OBJECTIVE, network)


def pictures(count: int, seed: int = 1) -> np.ndarray:
    return np.asarray(tiny.images(count, 20, 20, seed=seed), np.float32)


def test_is_the_loop_on_the_crops_of_the_seed_with_the_noise_of_the_start(start):
    seen: list[tuple[int, Stylizer]] = []
    result = service.adapt(
        start,
        pictures(1)[0],
        pictures(3),
        OPTIONS,
        on_step=lambda step, stylizer, metrics, seconds: seen.append((step, stylizer)),
    )
    settings = style_adaptation.AdaptationSettings(
        OBJECTIVE, steps=3, learning_rate=1e-2, parameters="norm", noise=0.1
    )
    crops = pipeline.crops(
        pictures(3),
        pipeline.Crop(16),
        count=2,
        order=pipeline.Order(5),
        reading=pipeline.Reading(threads=1),
    )
    expected = style_adaptation.adapt(
        start.stylizer.params, pictures(1)[0], crops, start.network, settings
    )
    assert result.history == expected.history and len(result.history) == 3
    jax.tree.map(np.testing.assert_array_equal, result.stylizer.params, expected.params)
    assert [step for step, _ in seen] == [1, 2, 3]
    assert seen[0][1].record.settings["adaptation.steps"] == 1
    np.testing.assert_array_equal(
        seen[2][1].style["conv1_norm"]["bias"], result.stylizer.style["conv1_norm"]["bias"]
    )


@pytest.mark.parametrize("taken", [1, 2])
def test_goes_on_from_a_place_bit_for_bit(start, taken):
    places = []
    arguments = (start, pictures(1)[0], pictures(3), OPTIONS)
    whole = service.adapt(*arguments, keep=places.append)
    assert [place.step for place in places] == [1, 2, 3]
    rest = service.adapt(*arguments, begin=jax.device_get(places[taken - 1]))
    assert rest.history == whole.history[taken:]
    jax.tree.map(np.testing.assert_array_equal, rest.stylizer.params, whole.stylizer.params)
    assert rest.stylizer.record == whole.stylizer.record
    assert rest.seconds > places[taken - 1].seconds


def test_records_what_a_style_file_needs(start):
    stylizer = service.adapt(start, pictures(1)[0], pictures(1), OPTIONS).stylizer
    assert stylizer.input_noise == 0.1 and stylizer.weights_are_named
    settings = stylizer.record.settings
    assert settings["init"] == "runs/a@40" and settings["data.noise"] == 0.1
    assert settings["adaptation.steps"] == 3 and settings["adaptation.learning_rate"] == 1e-2
    assert settings["features.network"] == "tiny" and "objective.style_weight" in settings
    assert "seed" not in settings  # of the training


def test_weights_that_moved_have_no_name(start):
    options = dataclasses.replace(OPTIONS, parameters="all", steps=1)
    stylizer = service.adapt(start, pictures(1)[0], pictures(1), options).stylizer
    assert not stylizer.weights_are_named
    assert stylizer.record.settings["adaptation.learning_rate"] == 3e-4


def test_stops_when_it_is_told_to(start):
    options = dataclasses.replace(OPTIONS, steps=50)
    result = service.adapt(start, pictures(1)[0], pictures(1), options, stopping=lambda: True)
    assert len(result.history) == result.stylizer.record.settings["adaptation.steps"] == 1


def test_losses_are_means_over_contents_whatever_the_chunks(start):
    quiet = dataclasses.replace(start, stylizer=dataclasses.replace(start.stylizer, input_noise=0))
    style, contents = pictures(1)[0], pictures(3, seed=2)
    whole, chunked, single = (
        service.losses_over(quiet, style, part, chunk=chunk)(quiet.stylizer)
        for part, chunk in ((contents, 3), (contents, 2), (contents[:1], 1))
    )
    assert whole.keys() == {"loss", "content", "style"}
    for name, value in whole.items():
        assert chunked[name] == pytest.approx(value, rel=1e-5)
    assert single["loss"] != pytest.approx(whole["loss"], rel=1e-3)


def test_the_start_is_that_of_the_record_unless_something_else_is_asked_for(start):
    stylizer = start.stylizer
    recorded = {"objective.style_weight": 3.0, "features.network": "compact"}
    trained = dataclasses.replace(
        stylizer, record=dataclasses.replace(stylizer.record, settings=recorded)
    )
    found = service.start_from(trained)
    assert found.objective.style_weight == 3.0 and found.network.spec == "compact"
    assert service.start_from(trained, objective=OBJECTIVE).objective is OBJECTIVE
    with pytest.raises(UserError, match=r"nowhere\.safetensors"):
        service.start_from(trained, features="vgg16:nowhere.safetensors")


@pytest.mark.parametrize(
    "parameters, rate", [("norm", 1e-2), ("all", 3e-4), ("weights/conv4/*", 3e-4)]
)
def test_default_rates(parameters, rate):
    assert service.Options(parameters=parameters).rate == rate
    assert service.Options(parameters=parameters, learning_rate=2.0).rate == 2.0


@pytest.mark.parametrize(
    "features, kind, parameters, steps",
    [
        ("distilled", "predicted", "norm", service.FEWER_STEPS),
        ("vgg16", "predicted", "norm", service.DEFAULT_STEPS),
        ("distilled", "neutral", "norm", service.DEFAULT_STEPS),
        ("distilled", "predicted", "all", service.DEFAULT_STEPS),
    ],
)
def test_fewer_steps_where_distilled_stands_in_for_the_features_of_the_training(
    start, features, kind, parameters, steps
):
    settings = {"features.network": "vgg16", "adaptation.start": kind}
    record = dataclasses.replace(start.stylizer.record, settings=settings)
    begun = dataclasses.replace(
        start,
        stylizer=dataclasses.replace(start.stylizer, record=record),
        network=dataclasses.replace(start.network, spec=features),
    )
    assert service.default_steps(begun, parameters) == steps
    settings["features.network"] = "distilled"
    assert service.default_steps(begun, parameters) == service.DEFAULT_STEPS
