"""Programs of `jax.export` and portable artifacts, of today and as committed earlier."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import export_case
from metastyle_jax.export import comparison, contents, exporting, stablehlo_folder
from metastyle_jax.networks import stylization_network
from processes import QUICK_COMPILE, ROOT, run

pytest.importorskip("flatbuffers", reason="needs the extra export")
import jax.export

ARTIFACTS = Path(__file__).parent / "artifacts"


@pytest.fixture(scope="module")
def stylizer():
    return export_case.stylizer(1, artwork="A: B")


@pytest.fixture(scope="module")
def folder(stylizer, tmp_path_factory):
    """An export whose style is constant, with the differences that were measured."""
    path = tmp_path_factory.mktemp("stablehlo") / "a"
    with pytest.MonkeyPatch.context() as patch:
        # each size compiles two programs, and symbolic sizes have a test of theirs
        patch.setattr(comparison, "SIZES", comparison.SIZES[:1])
        before = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", True)
        exported = exporting.export_stylizer(stylizer, path, "stablehlo")
        jax.config.update("jax_disable_most_optimizations", before)
    assert exported.differences.largest < 1e-5
    assert any("6 months" in note and "5 years" in note for note in exported.notes)
    return path


def test_what_is_recorded(folder):
    about = json.loads((folder / "about.json").read_text())
    assert about["jax"] == jax.__version__ and about["stablehlo_target"] == "1.0.0"
    assert "6 months" in about["program.jax"] and "5 years" in about["program.mlirbc"]
    assert about["artwork"] == "A: B" and about["platforms"] == ["cpu", "cuda", "tpu"]
    program = jax.export.deserialize(bytearray((folder / "program.jax").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert re.fullmatch(r"float32\[\w+,\w+,\w+,3\]", program.in_avals[0].str_short())


def test_no_file_tells_where_it_was_made(folder):
    for path in folder.iterdir():
        data = path.read_bytes()
        assert str(ROOT).encode() not in data and b"stylization_network.py" not in data


def test_the_portable_artifact_has_no_custom_calls(folder, monkeypatch):
    artifact = (folder / "program.mlirbc").read_bytes()
    program = stablehlo_folder.load_portable(artifact)
    assert "custom_call" not in program.mlir_module()
    monkeypatch.setattr(stablehlo_folder, "_text", lambda exported: "stablehlo.custom_call @other")
    with pytest.raises(ValueError, match="custom calls"):
        stablehlo_folder.portable(program)


def test_the_example_needs_only_jax(folder, stylizer, tmp_path):
    """In a process that cannot see this package."""
    example = ROOT / "examples" / "stylize_with_jax_only.py"
    lines = example.read_text().split('"""')[2].strip().splitlines()
    assert len(lines) <= 15 and "metastyle" not in "".join(lines)
    pixels = np.random.default_rng(0).integers(0, 255, (21, 34, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    arguments = [str(folder / "program.jax"), "photo.png", "drawn.png"]
    result = run([str(example), *arguments], tmp_path, **QUICK_COMPILE, PYTHONPATH="")
    assert result.returncode == 0, result.stderr
    drawn = np.asarray(Image.open(tmp_path / "drawn.png"), np.int32)
    assert np.abs(drawn - stylizer(pixels).astype(np.int32)).max() <= 1


@pytest.fixture
def expired_programs():
    """Lets JAX load programs that are older than it promises; JAX 0.12 refuses them otherwise."""
    name = "jax_export_deserialize_expired_versions"
    if name not in jax.config.values:
        yield
        return
    before = jax.config.values[name]
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


def test_programs_committed_earlier(expired_programs):
    """By JAX 0.8.0; the style is an input of theirs, and kernels are float16."""
    assert json.loads((ARTIFACTS / "about.json").read_text())["jax"] == "0.8.0"
    expected = np.load(ARTIFACTS / "expected.npz", allow_pickle=False)
    program = jax.export.deserialize(bytearray((ARTIFACTS / "program.jax").read_bytes()))
    artifact = (ARTIFACTS / "program.mlirbc").read_bytes()
    length = expected["styles"].shape[1]
    for each in (program, stablehlo_folder.load_portable(artifact, length)):
        outputs = jax.jit(each.call)(expected["images"], expected["styles"])
        np.testing.assert_allclose(outputs, expected["outputs"], atol=1e-5)
    assert np.ptp(expected["outputs"]) > 0.1


def test_symbolic_sizes_draw_what_known_ones_draw():
    """Sizes that are no multiple of 4 are reflected at the same borders."""
    stylizer = export_case.stylizer(2)
    weights, style = stylizer.weights, stylizer.style
    count, height, width = jax.export.symbolic_shape("n, h, w", constraints=("h >= 16", "w >= 16"))
    shape = jax.ShapeDtypeStruct((count, height, width, 3), jnp.float32)
    program = jax.export.export(
        jax.jit(lambda x: stylization_network.stylize(weights, style, x, rewrite=False))
    )(shape)
    for size in ((1, 16, 17), (2, 19, 18)):
        images = np.random.default_rng(0).random((*size, 3), np.float32)
        expected = contents.stylize_directly(weights, style, images)
        np.testing.assert_allclose(jax.jit(program.call)(images), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"constraint h >= 16"):
        program.call(np.zeros((1, 15, 20, 3), np.float32))
