"""What the studio does when a visitor does something, without its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.errors import UserError
from metastyle_jax.studio import live_adaptation, pad, painting, uploads, work
from metastyle_jax.studio.visits import Visit
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.blending import Regions
from metastyle_jax.stylization.options import Options

NAMES = ("starry_night", "great_wave")


@pytest.fixture(scope="module")
def styles():
    return {name: loading.load(f"pack:{name}") for name in NAMES}


def photograph(height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    return np.rint(255 * np.asarray(tiny.images(1, height, width, seed=seed)[0])).astype(np.uint8)


def test_shares_by_hand():
    four = ("a", "b", "c", "d")
    assert pad.shares(four, {"x": 0, "y": 0}) == {"a": 1}
    assert pad.shares(four, {"x": 1, "y": 1}) == {"d": 1}
    found = pad.shares(four, {"x": 0.25, "y": 0.5})
    assert found == pytest.approx({"a": 0.375, "b": 0.125, "c": 0.375, "d": 0.125})
    # an empty corner gives its share to the others, a style in two corners has both
    assert pad.shares(("a", None, "b", None), {"x": 0.9, "y": 0.25}) == {"a": 0.75, "b": 0.25}
    assert pad.shares(("a", "b", "a", "b"), {"x": 0.25, "y": 0.7}) == pytest.approx(
        {"a": 0.75, "b": 0.25}
    )
    assert pad.shares(("a", None, None, None), {"x": 1, "y": 1}) == {"a": 1}


@pytest.mark.parametrize("place", [{}, None, {"x": 2, "y": 0}, {"x": "?", "y": 0}])
def test_a_place_outside_the_pad_is_one_sentence(place):
    with pytest.raises(UserError, match="outside it"):
        pad.shares(("a", "b", "c", "d"), place)


def test_an_empty_pad_is_one_sentence():
    with pytest.raises(UserError, match="no style"):
        pad.shares((None,) * 4, pad.CENTER)


def layer(*strokes: tuple[slice, slice, str]) -> np.ndarray:
    painted = np.zeros((8, 10, 4), np.uint8)
    for rows, columns, color in strokes:
        values = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        painted[rows, columns] = [*values, 255]
    return painted


def test_masks_by_hand():
    red, blue, _ = painting.COLORS
    below = layer((slice(0, 4), slice(0, 5), red))
    below[7, 7] = [255, 255, 255, 20]  # the edge of a brush, hardly painted
    above = layer((slice(2, 6), slice(0, 5), blue))
    above[..., :3] = np.clip(above[..., :3].astype(int) + 9, 0, 255)  # nearly that color
    found = painting.masks({"layers": [below, above]})
    expected = np.zeros((4, 8, 10))
    expected[1, 0:2, 0:5] = 1
    expected[2, 2:6, 0:5] = 1
    expected[0] = 1 - expected[1] - expected[2]
    np.testing.assert_array_equal(found, expected)
    names, masks = painting.used(found, ("e", "r", "b", "y"))
    assert names == ["e", "r", "b"] and masks.shape == (3, 8, 10)


@pytest.mark.parametrize("painted", [None, {}, {"layers": []}, {"layers": [layer()]}])
def test_nothing_painted_is_one_sentence(painted):
    with pytest.raises(UserError, match="no region is painted"):
        painting.masks(painted)


def test_regions_draw_each_style_in_its_place(styles):
    red = layer((slice(0, 8), slice(0, 5), painting.COLORS[0]))
    names = ("great_wave", "starry_night", "great_wave", "great_wave")
    regions = work.in_regions(styles, {"layers": [red]}, names)
    assert isinstance(regions, Regions)
    assert [each.record.name for each in regions.stylizers] == [
        "pack:great_wave",
        "pack:starry_night",
    ]
    with pytest.raises(UserError, match="there is no style 'nobody'"):
        work.in_regions(styles, {"layers": [red]}, ("nobody",) * 4)


def test_a_large_picture_is_drawn_coarsely_first(styles):
    small, large = photograph(32, 48), photograph(320, 400)
    stylizer = styles["starry_night"]
    (only,) = work.draw(stylizer, small, Options(size=512), {})
    np.testing.assert_array_equal(only, stylizer.draw(small))
    coarse, full = work.draw(stylizer, large, Options(size=320), {})
    assert coarse.shape == (work.COARSE, 240, 3) and full.shape == large.shape
    np.testing.assert_array_equal(full, stylizer.draw(large))
    with pytest.raises(UserError, match="no style is chosen"):
        list(work.draw(None, small, Options(), {}))


def test_sliders_draw_with_their_weights_and_compile_nothing(programs):
    adjustable = loading.load("adjustable")
    picture = photograph()
    layers = work.with_sliders(adjustable)
    (first,) = work.draw(adjustable, picture, Options(), dict.fromkeys(layers, 1.0))
    before = programs()
    (other,) = work.draw(adjustable, picture, Options(strength=0.7), {layers[0]: 0.0})
    assert programs() == before
    expected = adjustable.at({layers[0]: 0.0}).draw(picture, Options(strength=0.7))
    np.testing.assert_array_equal(other, expected)
    assert (first != other).any()
    assert work.with_sliders(loading.load("pack:great_wave")) == ()


def test_variations_are_those_of_the_seed(styles):
    run = [
        list(work.random_variations(styles["great_wave"], photograph(), 2, seed))
        for seed in (3, 3, 4)
    ]
    for (picture, text), (same, same_text), (other, _) in zip(*run, strict=True):
        np.testing.assert_array_equal(picture, same)
        assert text == same_text and (picture != other).any()
    with pytest.raises(UserError, match="need one style"):
        list(work.random_variations(None, photograph(), 1, 0))


@pytest.fixture
def lenient_threads() -> Iterator[None]:
    """As `standard_promotion`, which does not reach other threads."""
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.mark.slow
def test_an_adaptation_stops_goes_on_and_is_saved(lenient_threads, tmp_path, capsys):
    visit, steps = Visit(), 0
    artwork = photograph(seed=1)
    run = work.adapt(visit, photograph(), artwork, steps=50, sliders=False, further=False)
    for reached in run:
        steps = reached.step
        visit.stop()
    assert 1 <= steps < 50 and len(visit.losses) == steps
    again = work.adapt(
        visit, photograph(), artwork, steps=2, sliders=False, further=True, asked=visit.stops
    )
    *_, last = again
    assert last.step == 2 and len(last.losses) == steps + 2
    assert visit.drawn_with is visit.adapted is last.stylizer
    pack = work.write_pack(visit)
    commands.main(["inspect", str(pack)])
    assert "whole" in capsys.readouterr().out
    folder = pack.parent
    visit.close()
    assert not folder.exists()


def test_there_is_nothing_to_go_on_with():
    with pytest.raises(UserError, match="press Adapt first"):
        next(work.adapt(Visit(), photograph(), photograph(), steps=1, sliders=False, further=True))


def test_a_page_that_closed_while_it_waited_is_not_adapted_for():
    visit = Visit()
    visit.close()
    assert not list(
        work.adapt(visit, photograph(), photograph(), steps=1, sliders=False, further=False)
    )
    assert visit.adapted is None


@pytest.mark.parametrize("further", [False, True])
def test_stop_ends_an_adaptation_that_waits_in_line(styles, further):
    visit = Visit(adapted=styles[NAMES[0]])
    asked = visit.stops
    visit.stop()
    keywords = {"steps": 1, "sliders": False, "further": further, "asked": asked}
    assert not list(work.adapt(visit, photograph(), photograph(), **keywords))
    assert visit.drawn_with is None
    assert not visit.has_ended(visit.stops)  # what is asked for afterwards begins


def test_the_page_says_that_it_was_stopped_before_it_began(styles):
    page = pytest.importorskip("metastyle_jax.studio.page", reason="needs the extra studio")
    parts, visit = page._Page(styles, {}, None, work.Limits()), Visit()
    visit.stop()
    ((_, said, *_),) = parts.adapt(False, visit, 0, None, None, 50, False)
    assert "Stopped before the first step" in said


def test_frames_of_the_camera_obey_the_sliders(styles):
    page = pytest.importorskip("metastyle_jax.studio.page", reason="needs the extra studio")
    parts = page._Page(styles, {}, None, work.Limits())
    visit, picture = Visit(styles[NAMES[0]]), photograph()
    drawn = {
        strength: parts.draw_frame(visit, picture, strength, 1, "style") for strength in (0, 1)
    }
    np.testing.assert_array_equal(drawn[0], picture)
    assert np.abs(drawn[1].astype(float) - picture).mean() > 5
    luminance = parts.draw_frame(visit, picture, 1, 1, "luminance")
    assert np.abs(luminance.astype(float) - drawn[1]).mean() > 1
    assert parts.draw_frame(visit, None, 1, 1, "style") is None


def test_an_adaptation_that_fails_says_so(monkeypatch):
    def fail(*args, **options):
        raise UserError("the loss is not finite")

    monkeypatch.setattr(live_adaptation.service, "adapt", fail)
    nothing = (None, photograph(), [], None)
    with pytest.raises(UserError, match="not finite"):
        list(live_adaptation.run(*nothing, lambda: False))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "the photograph is missing"),
        (lambda path: path.write_bytes(b"no picture"), "the photograph"),
        (lambda path: Image.new("RGB", (64, 64)).save(path), "64x64 pixels, at most 4000 are"),
        (lambda path: Image.new("RGB", (64, 8)).save(path), "too small"),
    ],
)
def test_uploads_that_cannot_be_used_are_one_sentence(tmp_path, make, message):
    path: Path = tmp_path / "upload.png"
    make(path)
    with pytest.raises(UserError, match=message) as raised:
        uploads.read(str(path) if path.exists() else None, uploads.PHOTOGRAPH, 4000)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_gradio_opens_no_upload(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed")
    from gradio.data_classes import ImageData

    from metastyle_jax.studio import page

    (tmp_path / "icon.ico").write_bytes(b"no picture")
    place = page.upload(label="Artwork")
    sent = place.preprocess(ImageData(path=str(tmp_path / "icon.ico")))
    with pytest.raises(UserError, match="the artwork: this is not an image"):
        uploads.read(str(sent), uploads.ARTWORK, 4000)
    assert place.preprocess(None) is None


def test_regions_have_no_one_style_to_save(styles):
    regions = Regions([styles[name] for name in NAMES], np.ones((2, 4, 4), np.float32))
    with pytest.raises(UserError, match="regions have several styles"):
        work.write_pack(Visit(regions))


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--port=99999", "--port must be"), ("--max-pixels=1", "--max-pixels must be")],
)
def test_bad_flags_are_one_sentence(flag, message):
    with pytest.raises(UserError, match=message):
        commands.main(["studio", flag])
