"""The style that an adaptation starts from: neutral, or what a predictor says."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import metastyle_jax as ms
import tiny
from metastyle_jax.adaptation import starting_style
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.networks import predictor
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization, style_file

pytestmark = pytest.mark.usefixtures("standard_promotion")

LAYERS = ("relu1_1", "relu1_2")
HIDDEN = 3
SETTINGS = {
    "features.network": "vgg16",  # of the losses; not what the predictor looks with
    "model.predictor_features": "compact",
    "objective.content_layers": ["relu1_2"],
    "objective.style_layers": list(LAYERS),
    provenance.NOISE: 0.05,
}


def single(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)


@pytest.fixture
def file(tmp_path):
    """A parameter file with a predictor whose every number is random."""
    params = single(tiny.parameters())
    network = predictor.init(
        jax.random.key(0), params["style"], inputs=2 * (24 + 24), hidden=HIDDEN
    )
    network = jax.tree.map(lambda x, d: np.asarray(x + 0.1 * d), network, tiny.like(network))
    path = tmp_path / "start.safetensors"
    style_file.save_params(path, {**params, "predictor": single(network)}, settings=SETTINGS)
    return path


@pytest.fixture
def file_without(tmp_path):
    path = tmp_path / "plain.safetensors"
    style_file.save_params(path, single(tiny.parameters()), settings=SETTINGS)
    return path


def picture(seed: int = 1) -> np.ndarray:
    return np.asarray(tiny.images(1, 24, 20, seed=seed)[0], np.float32)


def by_hand(init: initialization.Initialization, image: np.ndarray) -> np.ndarray:
    features = registry.load("compact", LAYERS).extract(image[None], LAYERS)
    parts = []
    for layer in LAYERS:
        columns = np.asarray(features[layer], np.float64).reshape(-1, features[layer].shape[-1])
        parts += [columns.mean(axis=0), columns.std(axis=0)]
    inputs = np.log(np.concatenate(parts) + predictor.EPSILON)
    assert init.predictor is not None
    layer = init.predictor["hidden"]
    hidden = np.maximum(inputs @ layer["kernel"] + layer["bias"], 0)
    hidden *= predictor.OUTPUT_SCALE / HIDDEN
    layer = init.predictor["output"]
    return hidden @ layer["kernel"] + layer["bias"]


def flat(style) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(style)])


def test_the_predictor_sees_the_image_with_features_of_its_own(file):
    init = initialization.load(str(file))
    for seed in (1, 2):
        start = starting_style.stylizer_at_start(init, picture(seed))
        np.testing.assert_allclose(flat(start.style), by_hand(init, picture(seed)), rtol=2e-4)
    assert start.record.settings[provenance.START] == "predicted"
    assert start.input_noise == 0.05 and start.weights_are_named


def test_neutral_is_the_style_of_the_initialization(file, file_without):
    for path, wanted in ((file, "neutral"), (file_without, "")):
        init = initialization.load(str(path))
        start = starting_style.stylizer_at_start(init, picture(), wanted)
        np.testing.assert_array_equal(flat(start.style), flat(init.params["style"]))
        assert start.record.settings[provenance.START] == "neutral"


def test_what_there_is_not_is_refused(file_without):
    init = initialization.load(str(file_without))
    with pytest.raises(UserError, match=r"plain\.safetensors has no predictor to start from"):
        starting_style.stylizer_at_start(init, picture(), "predicted")
    with pytest.raises(UserError, match=r"'predict' is unknown: use neutral or predicted"):
        starting_style.kind_of(init, "predict")


def test_the_api_starts_where_the_predictor_says(file):
    init = initialization.load(str(file))
    options = {"steps": 1, "size": 32, "learning_rate": 1e-8, "features": "compact"}
    contents = [picture(3)]
    predicted, neutral = (
        ms.adapt(picture(), contents, init=file, start=start, **options)
        for start in ("", "neutral")
    )
    np.testing.assert_allclose(flat(predicted.style), by_hand(init, picture()), rtol=2e-4)
    np.testing.assert_allclose(flat(neutral.style), flat(init.params["style"]), atol=1e-6)
    assert predicted.record.settings[provenance.START] == "predicted"
    # a stylizer has one style, and that is where it starts
    again = ms.adapt(picture(2), contents, init=predicted, **options)
    np.testing.assert_allclose(flat(again.style), flat(predicted.style), atol=1e-6)
    with pytest.raises(UserError, match="needs an initialization, not one style"):
        ms.adapt(picture(), contents, init=predicted, start="predicted", **options)
