"""The embedded feature networks: that the files are whole and their channels are of use."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import jax
import numpy as np
import pytest

from metastyle_jax.data import images, resizing
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.networks import vgg
from metastyle_jax.storage import safetensors_file

ASSETS = Path(str(resources.files("metastyle_jax") / "assets"))
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


@pytest.fixture(scope="module", params=("compact", "distilled"))
def network(request):
    return registry.load(request.param, LAYERS)


def pictures(kind: str) -> np.ndarray:
    paths = sorted((ASSETS / kind).glob("*.jpg"))
    return np.stack([resizing.center_crop_resized(images.read_image(path), 96) for path in paths])


@pytest.mark.parametrize("name", ["compact", "distilled"])
def test_keys_types_size_and_metadata(name):
    file = ASSETS / f"{name}.safetensors"
    arrays, metadata = safetensors_file.read(file)
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)  # torchvision's VGG-16 up to conv4_3
    keys = {f"features.{i}" for i in indices}
    if name == "distilled":
        keys |= {f"heads.relu{layer}" for layer in ("1_1", "1_2", "2_1", "2_2")}
        keys |= {f"heads.relu{block}_{number}" for block in (3, 4) for number in (1, 2, 3)}
    assert set(arrays) == {f"{key}.{part}" for key in keys for part in ("weight", "bias")}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert file.stat().st_size <= 1.2e6
    assert "train-features" in metadata["origin"] and metadata["license"] == "Apache-2.0"


def test_weights_are_finite_and_not_crushed_by_float16(network):
    assert list(network.weights) == list(vgg.kernel_shapes(network.architecture, LAYERS))
    for name, conv in network.weights.items():
        for array in conv.values():
            assert np.isfinite(array).all()
        if name.startswith("head"):
            continue  # VGG-16 has dead channels, and so have its predictions
        norms = np.linalg.norm(conv["kernel"].reshape(-1, conv["kernel"].shape[-1]), axis=0)
        assert norms.min() > 1e-2


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("kind", ["contents", "styles"])
def test_most_channels_live_on_some_sample(network, kind, pooling):
    network = dataclasses.replace(network, pooling=pooling)
    x = network.extract(pictures(kind), LAYERS)
    for layer, values in x.items():
        deviation = np.asarray(values).std(axis=(0, 1, 2))
        assert (deviation > 1e-3).mean() > 0.6, layer
        # none explodes
        assert 0.05 < np.asarray(values).mean() < 10, layer


def test_style_ignores_where_things_are(network):
    settings = perceptual.Objective(style_layers=LAYERS, style_weight=1.0, normalize=True)
    styles = pictures("styles")
    targets = perceptual.style_targets(settings, network, styles)

    @jax.jit
    def style_error(outputs):
        contents = perceptual.content_targets(settings, network, outputs)
        parts = perceptual.perceptual_loss(settings, network, outputs, contents, targets)[1]
        return parts["style"]

    np.testing.assert_allclose(style_error(styles), 0, atol=1e-6)
    # a style is nearer to itself, cut in four and put together anew, than to any other sample
    moved = np.asarray(style_error(np.roll(styles, (48, 48), axis=(1, 2))))
    for shift in range(1, len(styles)):
        assert (moved < np.asarray(style_error(np.roll(styles, shift, axis=0)))).all()
