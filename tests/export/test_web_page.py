"""`export --format=web`: what is in the folder, and mistakes; a package made here stands in for
onnxruntime-web (`test_web_page_in_a_browser.py` has the real one)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
from PIL import Image

import metastyle_jax as ms
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.export import web_runtime
from metastyle_jax.networks import input_noise
from metastyle_jax.storage import style_packs

WASM = b"\0asm" + bytes(1000)


def make_package(path: Path, leave_out: str = "") -> Path:
    files = {
        "package.json": json.dumps({"version": "9.8.7"}).encode(),
        "dist/ort.wasm.min.mjs": b"// script",
        "dist/ort-wasm-simd-threaded.mjs": b"// loader",
        "dist/ort-wasm-simd-threaded.wasm": WASM,
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            if name != leave_out:
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return make_package(tmp_path_factory.mktemp("package") / "runtime.tgz")


@pytest.fixture(scope="module")
def page(tmp_path_factory, package) -> Path:
    folder = tmp_path_factory.mktemp("page")
    own = ms.load("pack:the_scream")
    own.save(folder / "my_style.safetensors")
    commands.main(
        [
            "export",
            "pack:great_wave",
            str(folder / "my_style.safetensors"),
            "--format=web",
            f"--out={folder / 'out'}",
            f"--runtime={package}",
        ]
    )
    return folder / "out"


def test_the_folder_holds_all_that_a_page_needs(page):
    about = json.loads((page / "page.json").read_text())
    assert [style["name"] for style in about["styles"]] == ["great_wave", "my_style"]
    assert [style["title"] for style in about["styles"]] == [
        "The Great Wave off Kanagawa",
        "my style",
    ]
    assert about["runtime"] == "9.8.7"
    assert gzip.decompress((page / "runtime.bin").read_bytes()) == WASM
    for style in about["styles"]:
        with Image.open(page / style["thumbnail"]) as picture:
            picture.load()
    text = (page / "index.html").read_text() + (page / "page.js").read_text()
    assert "http://" not in text and "https://" not in text
    for name in ("page.css", "page.js", "worker.js", "ort.wasm.min.mjs", "sample.jpg"):
        assert (page / name).stat().st_size
    assert "9.8.7" in (page / "licenses.txt").read_text()


def test_style_vectors_are_those_of_the_files(page):
    about = json.loads((page / "page.json").read_text())
    rows = np.fromfile(page / "styles.bin", "<f4").reshape(-1, about["length"])
    session = onnxruntime.InferenceSession(page / "network.onnx")
    order = json.loads(session.get_modelmeta().custom_metadata_map["style_order"])
    for row, name in zip(rows, ("great_wave", "the_scream"), strict=False):
        arrays = safetensors.numpy.load_file(style_packs.find(name).style_file)
        np.testing.assert_allclose(row, np.concatenate([arrays[key] for key in order]), atol=1e-6)
    # the last row is the neutral style: strengths above 1 lead away from it
    assert about["neutral"] and len(rows) == 3
    stronger = ms.load("pack:great_wave").strengthened(1.5).style
    layer, part = order[0].rsplit(".", 1)
    first = slice(0, len(np.asarray(stronger[layer][part])))
    expected = rows[2, first] + 1.5 * (rows[0, first] - rows[2, first])
    np.testing.assert_allclose(expected, stronger[layer][part], atol=1e-5)


def test_the_noise_is_that_of_stylize(page):
    about = json.loads((page / "page.json").read_text())
    levels = np.frombuffer(gzip.decompress((page / "noise.bin").read_bytes()), "<i2")
    noise = about["noise"]["scale"] * levels.reshape(2 * [about["noise"]["side"]])
    np.testing.assert_allclose(noise, input_noise.texture(), atol=1e-4)
    assert [style["noise"] for style in about["styles"]] == [
        ms.load(f"pack:{name}").input_noise for name in ("great_wave", "the_scream")
    ]


def refused(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped, exit_cleanly():
        commands.main(["export", *arguments])
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format=web", "--quantize=int8"], "--quantize is not for --format=web"),
        (["--format=web", "--style-input"], "--style-input is not for --format=web"),
        (["--format=web", "--runtime=nowhere.tgz"], "there is no file nowhere.tgz"),
        (["--format=web", "pack:mona"], "there is no style pack 'mona'"),
        (["--format=onnx"], "onnx holds one style, and none is named: name one, or use"),
        (["--format=onnx", "pack:wave", "pack:wave"], "onnx holds one style, and 2 are named"),
        (["--format=npz", "pack:wave", "--runtime=a"], "--runtime is for --format=web"),
        (["--format=html"], "there is no format 'html': use one of onnx"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, arguments, message):
    assert message in refused([*arguments, f"--out={tmp_path / 'out'}"], capsys)
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_not_whole(tmp_path, capsys):
    lacking = make_package(tmp_path / "lacking.tgz", leave_out="dist/ort.wasm.min.mjs")
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(make_package(tmp_path / "whole.tgz").read_bytes()[:200])
    other = tmp_path / "other.tgz"
    other.write_text("no archive")
    for file in (lacking, cut, other):
        arguments = ["--format=web", f"--out={tmp_path / 'out'}", f"--runtime={file}"]
        assert f"{file} is no whole package of onnxruntime-web" in refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def test_styles_of_one_name(tmp_path, capsys, package):
    arguments = ["pack:great_wave", "pack:great_wave", "--format=web"]
    arguments += [f"--out={tmp_path / 'out'}", f"--runtime={package}"]
    assert "two styles are named great_wave" in refused(arguments, capsys)


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Path:
    """A folder in place of the registry, and an empty cache folder."""
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "registry").as_uri())
    monkeypatch.setenv("METASTYLE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "registry" / "onnxruntime-web" / "-"
    folder.mkdir(parents=True)
    return folder / f"onnxruntime-web-{web_runtime.VERSION}.tgz"


def test_a_download_is_kept_and_checked(registry, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"cannot download file:.*give --runtime=FILE"):
        web_runtime.load()
    make_package(registry)
    with pytest.raises(UserError, match="is another file than onnxruntime-web"):
        web_runtime.load()
    assert not list(tmp_path.glob("cache/*.tgz"))
    digest = hashlib.sha512(registry.read_bytes()).digest()
    monkeypatch.setattr(web_runtime, "SHA512", base64.b64encode(digest).decode())
    assert web_runtime.load().version == "9.8.7"
    registry.unlink()  # it is not asked for again
    assert web_runtime.load().files["ort-wasm-simd-threaded.wasm"] == WASM


def test_python_says_where_pages_are_written(tmp_path):
    with pytest.raises(UserError, match="export_page"):
        ms.export_stylizer(ms.load("pack:great_wave"), tmp_path / "out", "web")
    with pytest.raises(UserError, match="holds files already"):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").write_text("kept")
        ms.export_page(tmp_path / "full", ["pack:great_wave"])
    assert (tmp_path / "full" / "file").read_text() == "kept"
