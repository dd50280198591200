"""The public names: the README's lines as written there, and an import that loads nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import metastyle_jax as ms
import tiny
from metastyle_jax.adaptation import from_pictures, service
from metastyle_jax.losses import perceptual
from metastyle_jax.storage import style_file
from metastyle_jax.stylization.stylizer import Stylizer

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def picture(seed: int = 0, height: int = 40, width: int = 41) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        Image.fromarray(picture(seed)).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path / "photos"


@pytest.mark.slow
def test_the_lines_of_the_readme(folder, monkeypatch, standard_promotion):
    """With the embedded network; two steps on small crops instead of the defaults."""
    (lines,) = re.findall(r"```python\n(import metastyle_jax as ms\n.*?)```", README, re.DOTALL)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(from_pictures, "_options", lambda given: service.Options(2, size=32))
    photo = Image.fromarray(picture())
    names = {"photo": photo, "style_image": Image.fromarray(picture(1)), "folder": folder}
    exec(lines, names)
    assert isinstance(names["picture"], Image.Image) and names["picture"].size == photo.size
    assert Path("mine.safetensors").stat().st_size < 20_000
    again = ms.load("mine.safetensors")
    np.testing.assert_array_equal(np.asarray(again(photo)), np.asarray(names["mine"](photo)))
    assert again.record.settings["adaptation.steps"] == 2


@pytest.mark.slow
def test_the_lines_of_the_page(tmp_path, monkeypatch, standard_promotion):
    """All of docs/api.md, one block after the other, as in one session."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metastyle_jax").symlink_to(ROOT / "metastyle_jax")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    photo = names["photo"]
    assert names["drawn"].size == photo.size and min(names["weaker"].size) == 128
    assert len(names["losses"]) == 2 and isinstance(names["again"], Stylizer)
    assert names["halves"].shape == (*photo.size[::-1], 3) and len(names["several"]) == 2
    assert names["written"].path.stat().st_size > 1e6
    listed = re.findall(r"^\| `ms\.(\w+)", page, re.MULTILINE)
    assert {*listed, "UserError", "__version__"} == set(ms.__all__)


def test_the_import_loads_neither_jax_nor_numpy():
    program = (
        "import sys, metastyle_jax\n"
        "assert metastyle_jax.__version__ and 'load' in dir(metastyle_jax)\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'jax', 'numpy', 'PIL', 'flax'}, loaded\n"
        "assert metastyle_jax.bilevel.inner_loop and metastyle_jax.bilevel.ESTIMATORS\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there_and_no_other():
    for name in ms.__all__:
        assert getattr(ms, name) is not None and name in dir(ms)
    with pytest.raises(AttributeError, match="has no attribute 'stylize'"):
        ms.stylize  # noqa: B018


@pytest.fixture
def start(monkeypatch) -> Stylizer:
    """A tiny stylizer whose feature network is tiny too."""
    objective = perceptual.Objective(content_layers=("relu1_2",), style_layers=("relu1_1",))
    network = tiny.feature_network(objective.layers, dtype=np.float32)
    monkeypatch.setattr(
        service,
        "start_from",
        lambda stylizer, features: service.Start(stylizer, objective, network),
    )
    return Stylizer(**jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters()))


def test_styles_and_contents_of_every_kind_give_the_same(
    start, folder, tmp_path, standard_promotion
):
    pixels = [picture(seed) for seed in range(2)]
    pillow = [Image.fromarray(each) for each in pixels]
    options = {"init": start, "steps": 2, "size": 32, "seed": 3}
    seen: list[int] = []
    expected = ms.adapt(
        pixels[0], pixels, progress=lambda step, losses: seen.append(step), **options
    )
    assert seen == [1, 2]
    files = sorted(folder.iterdir())
    for style, contents in (
        (pillow[0], pillow),
        (files[0], files),
        (str(files[0]), folder),
        (pixels[0] / 255, np.stack(pixels)),
        (pixels[0], f"{folder}/*.png"),
    ):
        stylizer = ms.adapt(style, contents, **options)
        np.testing.assert_allclose(
            stylizer.style["conv1_norm"]["scale"], expected.style["conv1_norm"]["scale"], rtol=1e-4
        )
    stylizer.save(tmp_path / "mine.safetensors")  # its weights have no name
    assert style_file.format_of(tmp_path / "mine.safetensors") == style_file.PARAMS_FORMAT


def test_a_large_style_image_is_resized(start, monkeypatch):
    shapes = []

    def adapt(start, style, source, options, on_step):
        shapes.append(style.shape)
        return service.Adapted(start.stylizer, [], 0.0, 0.0)

    monkeypatch.setattr(service, "adapt", adapt)
    ms.adapt(picture(height=100, width=50), init=start, style_size=40)
    ms.adapt(picture(height=100, width=50), init=start)
    assert shapes == [(80, 40, 3), (100, 50, 3)]


@pytest.mark.parametrize(
    "keywords, kind, message",
    [
        ({"stepz": 3}, TypeError, "no option 'stepz'; there are steps, learning_rate"),
        ({"steps": 0}, ms.UserError, "steps must be between 1 and .*, got 0"),
        ({"learning_rate": -1.0}, ms.UserError, "learning_rate must be more than 0"),
        ({"contents": "nowhere"}, ms.UserError, "nowhere"),
        ({"contents": ["gone.png"]}, ms.UserError, "none of the 1 images in the contents"),
        ({"contents": [np.zeros((40, 40))]}, ValueError, r"\(H, W, 3\), not \(40, 40\)"),
        ({"init": "nowhere"}, ms.UserError, "nowhere"),
        ({"style_image": "gone.jpg"}, ms.UserError, "gone.jpg: there is no such file"),
        ({"style_image": np.zeros((9, 40, 3))}, ms.UserError, "the style image: .* 40x9 pixels"),
    ],
)
def test_mistakes_name_what_is_wrong(keywords, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        ms.adapt(**{"style_image": picture(), "contents": [picture()], **keywords})
