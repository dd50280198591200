"""The style packs: a file and a thumbnail for each, which fit the embedded network."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError, exit_cleanly
from metastyle_jax.storage import initialization, style_file, style_packs

PACKS = style_packs.index()


def test_there_are_sixteen_or_more_of_different_names():
    names = [pack.name for pack in PACKS]
    assert len(set(names)) == len(names) >= 16
    present = {path.name for path in style_packs.folder().iterdir()}
    files = {f"{name}.{kind}" for name in names for kind in ("jpg", "safetensors")}
    assert present == files | {style_packs.INDEX, "README.md"}
    page = (style_packs.folder() / "README.md").read_text()
    assert all(f"pack:{name}`" in page and f"({name}.jpg)" in page for name in names)


@pytest.fixture(scope="module")
def embedded() -> initialization.Initialization:
    return initialization.load()


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.name)
def test_a_pack_fits_the_embedded_network(pack, embedded):
    style, metadata = style_file.load_style(
        style_packs.resolve(f"pack:{pack.name}"),
        weights_digest=embedded.digest,
        template=embedded.params["style"],
    )
    assert sum(part.nbytes for layer in style.values() for part in layer.values()) == 12_800
    assert pack.style_file.stat().st_size < 20_000
    assert pack.artist in metadata["settings"]["artwork"]
    # adapted, not a copy of where it began
    moved = [
        np.abs(style[layer][part] - embedded.params["style"][layer][part])
        for layer in style
        for part in ("scale", "bias")
    ]
    assert np.concatenate(moved).mean() > 0.03
    with Image.open(pack.thumbnail) as image:
        assert image.size == (160, 160)
        assert np.asarray(image, float).std() > 10  # a picture, not one color


def test_what_is_no_pack_is_a_path():
    assert str(style_packs.resolve("out/style.safetensors")) == "out/style.safetensors"
    with pytest.raises(UserError, match=r"'mona_lisa'.*starry_night"):
        style_packs.resolve("pack:mona_lisa")


def test_commands_list_and_apply_packs(tmp_path, capsys):
    commands.main(["packs"])
    assert "pack:great_wave" in capsys.readouterr().out
    pixels = np.random.default_rng(0).integers(0, 255, (33, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    out = tmp_path / "applied"
    for name in ("great_wave", "suprematism"):
        photo = str(tmp_path / "photo.png")
        commands.main(["stylize", f"pack:{name}", photo, f"--out={out / name}"])
    drawn = [
        np.asarray(Image.open(out / name / "photo.png"), float)
        for name in ("great_wave", "suprematism")
    ]
    assert drawn[0].shape == (33, 40, 3)
    assert np.abs(drawn[0] - drawn[1]).mean() > 5


def test_an_unknown_pack_is_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught, exit_cleanly():
        commands.main(["stylize", "pack:nothing", "photo.png", f"--out={tmp_path / 'out'}"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no style pack 'nothing'" in line
    assert not (tmp_path / "out").exists()
