"""What every export has in common: the command, mistakes, and files that are never left behind."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

import export_case
import metastyle_jax as ms
import tiny
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.export import contents, exporting
from metastyle_jax.networks import input_noise
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.sliders import Sliders
from metastyle_jax.stylization.stylizer import Record, Stylizer
from processes import ROOT


@pytest.fixture(scope="module")
def params_file(tmp_path_factory) -> Path:
    """A file of all parameters, as `adapt --parameters=all` writes it."""
    path = tmp_path_factory.mktemp("params") / "params.safetensors"
    export_case.stylizer(input_noise=0.1).save(path)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def described(path: Path) -> tuple[str, dict]:
    """Name and settings in an npz file."""
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["metadata"]))
    return about["name"], json.loads(about["settings"])


def test_a_blend_says_its_shares_and_no_folder(tmp_path):
    """What ships must not say where the files of its styles lay."""
    one = export_case.stylizer()
    places = ("/home/customer/a/style.safetensors", "b/style.safetensors", "pack:starry_night")
    named = [dataclasses.replace(one, record=Record(place)) for place in places]
    blend = ms.blend(list(zip(named, (0.5, 0.25, 0.25), strict=True)))
    ms.export_stylizer(blend, tmp_path / "a.npz", "npz")
    name, settings = described(tmp_path / "a.npz")
    shares = {"style.safetensors": 0.5, "style.safetensors (2)": 0.25, places[2]: 0.25}
    assert settings["blend"] == shares
    assert name == "0.5 style.safetensors + 0.25 style.safetensors (2) + 0.25 pack:starry_night"


def test_of_sliders_the_file_has_the_weights_that_it_draws_with(tmp_path, capsys):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.adjustable_parameters())
    layers = ("relu1_1", "relu2_2")
    moved = Sliders(params["adjuster"], params["style"], layers)
    record = Record("a", {"objective.style_layers": list(layers)})
    stylizer = Stylizer(params["weights"], params["style"], 0.0, record, moved)
    exported = ms.export_stylizer(stylizer, tmp_path / "a.npz", "npz")
    assert any("all weights at 1" in note for note in exported.notes)
    assert described(tmp_path / "a.npz")[1]["alpha"] == dict.fromkeys(layers, 1.0)
    stylizer.save(tmp_path / "sliders.safetensors")
    file, flags = str(tmp_path / "sliders.safetensors"), ["--format=npz", "--alpha=relu1_1:0.25"]
    commands.main(["export", file, *flags, f"--out={tmp_path / 'b.npz'}"])
    assert "all weights at 1" not in capsys.readouterr().out
    assert described(tmp_path / "b.npz")[1]["alpha"] == {"relu1_1": 0.25, "relu2_2": 1.0}
    with np.load(tmp_path / "b.npz") as file:
        expected = moved.style_at({"relu1_1": 0.25, "relu2_2": 1.0})["conv1_norm"]["scale"]
        np.testing.assert_allclose(file["style/conv1_norm/scale"], expected, rtol=1e-6)


@pytest.mark.parametrize("quantize", ["", "--quantize=float16"])
def test_the_command_prints_what_differs(params_file, tmp_path, quantize, capsys):
    out = tmp_path / "new" / "a.npz"
    flags = [quantize] if quantize else []
    commands.main(["export", str(params_file), "--format=npz", f"--out={out}", *flags])
    printed = capsys.readouterr().out
    assert f"{out}: 0.0" in printed and "--noise=0" in printed
    assert "largest difference from stylize at 53x37, 64x64, 67x101: " in printed
    assert ("float16 kernels change the pictures by" in printed) == bool(quantize)
    assert names(out.parent) == {"a.npz"}


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--format=tflite"], "no format 'tflite': use one of onnx, stablehlo, torch, safetens"),
        (["--format=npz", "--style-input"], "npz holds arrays .* use onnx or stablehlo"),
        (["--format=torch", "--quantize=int8"], "torch cannot hold kernels in int8: use one of"),
        (["--format=web", "--alpha=relu1_1:0"], "--alpha is not for --format=web"),
        (["--format=npz", "--quantize=int4"], "cannot be stored as 'int4': use one of float32"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        commands.main(["export", "pack:starry_night", f"--out={tmp_path / 'a'}", *flags])
    assert stopped.value.code == 2
    with pytest.raises(UserError, match=message):
        commands.main(["export", "pack:starry_night", f"--out={tmp_path / 'a'}", *flags])
    assert names(tmp_path) == set()


@pytest.mark.parametrize("out", ["", ".", "..", "/"])
@pytest.mark.parametrize("format", ["npz", "orbax", "web"])
def test_what_names_no_file_is_refused_before_anything_is_loaded(
    out, format, tmp_path, monkeypatch
):
    """As `--out=$OUT` does where the variable is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "load", None)
    with pytest.raises(UserError, match=r"^\S+ names no file: give --out a name$"):
        commands.main(["export", "pack:starry_night", f"--format={format}", f"--out={out}"])
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "format, package", [("onnx", "onnx"), ("onnx", "onnxruntime"), ("stablehlo", "flatbuffers")]
)
def test_a_missing_package_is_named_with_its_extra(format, package, monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else real(name)
    )
    with pytest.raises(UserError, match=rf"needs {package}: pip install 'metastyle_jax\[export\]'"):
        exporting.export_stylizer(export_case.stylizer(), tmp_path / "a", format)
    assert names(tmp_path) == set()


def test_no_input_is_written_over(params_file):
    before = params_file.read_bytes()
    with pytest.raises(UserError, match="would be written over the input"):
        commands.main(["export", str(params_file), "--format=npz", f"--out={params_file}"])
    stylizer = ms.load(params_file)
    with pytest.raises(UserError, match="would be written over the input"):
        ms.export_stylizer(stylizer, params_file, "safetensors")
    assert params_file.read_bytes() == before


def wrong(style: dict) -> dict:
    """The same style with one bias changed."""
    affine = {**style["up2_norm"], "bias": style["up2_norm"]["bias"] + 0.1}
    return {**style, "up2_norm": affine}


@pytest.mark.parametrize("format", ["npz", "onnx", "orbax", "safetensors", "torch"])
def test_what_differs_from_stylize_is_not_kept(format, tmp_path, monkeypatch):
    if format == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    chosen = exporting.check(format)

    def write(path: Path, written: contents.Contents) -> None:
        chosen.write(path, dataclasses.replace(written, style=wrong(written.style)))

    monkeypatch.setitem(exporting.FORMATS, format, lambda: chosen._replace(write=write))
    if not chosen.is_folder:
        (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(UserError, match=r"is not kept: .* differ .* by up to .* more than 0.001"):
        exporting.export_stylizer(export_case.stylizer(), tmp_path / "a", format)
    assert names(tmp_path) == (set() if chosen.is_folder else {"a"})
    if not chosen.is_folder:
        assert (tmp_path / "a").read_bytes() == b"before"


def test_values_that_are_not_finite_are_not_kept(tmp_path):
    stylizer = export_case.stylizer()
    style = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), dict(stylizer.style))
    with pytest.raises(UserError, match=r"is not kept: .* no finite values"):
        exporting.export_stylizer(dataclasses.replace(stylizer, style=style), tmp_path / "a", "npz")
    assert names(tmp_path) == set()


def test_a_folder_that_holds_files_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="holds files already: choose a new folder"):
        exporting.export_stylizer(export_case.stylizer(), tmp_path, "orbax")
    assert names(tmp_path) == {"photo.png"}


def test_kernels_too_large_for_float16(tmp_path):
    stylizer = export_case.stylizer()
    layer = {**stylizer.weights["up2"], "kernel": stylizer.weights["up2"]["kernel"] * 1e6}
    large = dataclasses.replace(stylizer, weights={**stylizer.weights, "up2": layer})
    with pytest.raises(
        UserError, match=r"kernel of up2 .* too large for float16: export it without"
    ):
        exporting.export_stylizer(large, tmp_path / "a", "npz", quantize="float16")


def test_an_adapted_model_of_all_parameters(params_file, tmp_path):
    """Its weights have no name; the file stands alone, and `load` reads it."""
    stylizer = ms.load(params_file)
    exported = ms.export_stylizer(stylizer, tmp_path / "b.safetensors", "safetensors")
    again = ms.load(exported.path)
    assert again.input_noise == stylizer.input_noise == 0.1
    for part in ("weights", "style"):
        before, after = getattr(stylizer, part), getattr(again, part)
        jax.tree.map(np.testing.assert_array_equal, dict(before), dict(after))
    assert exported.size == exported.path.stat().st_size


def test_a_style_of_another_kind_of_file(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(3)}, path)
    with pytest.raises(UserError, match="no parameter file"):
        commands.main(["export", str(path), "--format=npz", f"--out={tmp_path / 'b.npz'}"])


def test_the_noise_of_the_document_is_that_of_stylize():
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(def with_noise.*?)```", page, re.DOTALL)
    names = {"np": np}
    exec(block, names)
    photo = np.random.default_rng(1).random((33, 1030, 3), np.float32)
    noise = input_noise.texture_of(33, 1030)[..., None]
    expected = np.clip(photo + np.float32(0.06) * noise, 0, 1)
    np.testing.assert_allclose(names["with_noise"](photo, 0.06), expected, atol=1e-6)


def test_the_styles_of_a_blend_are_not_written_over(tmp_path, monkeypatch):
    """Ten have a name that no file could have."""
    monkeypatch.chdir(tmp_path)
    weights = export_case.stylizer().weights
    paths = [tmp_path / f"{'style' * 8}{number}.safetensors" for number in range(10)]
    for number, path in enumerate(paths):
        style = export_case.stylizer(number).style
        Stylizer(weights, style, 0.0, Record("tiny")).save(path)
    blended = ms.blend([(ms.load(path), 1.0) for path in paths])
    assert len(blended.record.name) > 255
    before = paths[7].read_bytes()
    with pytest.raises(UserError, match=r"style7\.safetensors would be written over the input"):
        ms.export_stylizer(blended, paths[7], "safetensors")
    assert paths[7].read_bytes() == before
    # what a file holds was made of that one, and no other
    blended.save("blend.safetensors")
    again = ms.load("blend.safetensors")
    with pytest.raises(UserError, match=r"blend\.safetensors would be written over the input"):
        ms.export_stylizer(again, "blend.safetensors", "safetensors")
    ms.export_stylizer(again, paths[7], "safetensors")
    assert paths[7].read_bytes() != before
