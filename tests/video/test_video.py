"""Films made with PyAV, stylized with a tiny network, and read with PyAV alone."""

from __future__ import annotations

import functools
import struct
from fractions import Fraction

import jax
import numpy as np
import pytest
from PIL import Image, ImageSequence

import tiny
from metastyle_jax.cli import commands
from metastyle_jax.data.resizing import resample
from metastyle_jax.errors import UserError
from metastyle_jax.storage import folder_lock
from metastyle_jax.stylization.options import Options
from metastyle_jax.stylization.stylizer import Stylizer
from metastyle_jax.video import camera_motion, conversion, film_reading, film_writing
from metastyle_jax.video.frames import FrameStylizer

av = pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")

# smooth, so that a film keeps its colors
SCENE = resample(np.random.default_rng(0).random((12, 18, 3)).astype(np.float32), 60, 90)
SCENE = np.rint(255 * SCENE).astype(np.uint8)


@functools.cache
def stylizer(noise: float = 0.0) -> Stylizer:
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tiny.parameters(3))
    return Stylizer(**params, input_noise=noise)


def pan(count: int, right: int = 2, down: int = 0) -> list[np.ndarray]:
    """The scene moves left and up by so many pixels from frame to frame."""
    return [SCENE[down * n : down * n + 40, right * n : right * n + 48] for n in range(count)]


def write_film(path, frames, *, times=None, rate=10, sound=False, **stream_settings):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in stream_settings.items():
            setattr(stream.codec_context, name, value)
        voice = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[number] if times else 1000 * number // rate
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if voice:
            tone = np.sin(np.arange(8000 * len(frames) // rate) / 4).astype(np.float32)
            for start in range(0, len(tone) - 1023, 1024):
                part = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
                part.sample_rate, part.pts = 8000, start
                container.mux(voice.encode(part))
            container.mux(voice.encode())
        container.mux(stream.encode())
    return path


def read_film(path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time) for f in frames]


def convert(source, target, **keywords):
    keywords = {"options": Options(), "smooth": False, "quality": 1} | keywords
    return conversion.convert(stylizer(), source, target, say=lambda line: None, **keywords)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".webm"])
def test_every_frame_is_drawn_at_its_time(tmp_path, ending):
    times = [0, 100, 250, 300, 370, 500, 700]
    source = write_film(tmp_path / "in.mkv", pan(7), times=times)
    assert convert(source, tmp_path / f"out{ending}") == 7
    frames, shown = read_film(tmp_path / f"out{ending}")
    np.testing.assert_allclose(shown, np.array(times) / 1000, atol=2e-3)
    for frame, seen in zip(frames, read_film(source)[0], strict=True):
        # the format halves the resolution of the colors, not that of light and dark
        difference = (frame.astype(float) - stylizer().draw(seen)) @ [0.2126, 0.7152, 0.0722]
        assert np.abs(difference).mean() < 4  # of 255
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []


def test_sound_is_copied_packet_by_packet(tmp_path):
    source = write_film(tmp_path / "in.mp4", pan(8), sound=True)
    convert(source, tmp_path / "out.mp4")
    packets = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            packets.append([bytes(p) for p in container.demux(audio=0) if p.size])
    assert packets[0] == packets[1] and len(packets[0]) > 3


@pytest.mark.parametrize("full", [False, True])
def test_the_range_of_colors_is_kept(tmp_path, full):
    source = write_film(tmp_path / "in.mkv", pan(2), color_range=2 if full else 1)
    convert(source, tmp_path / "out.mkv")
    assert film_reading.inspect(tmp_path / "out.mkv").full_range == full


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((0, -1, 1, 0), 1)])
def test_a_film_that_was_held_upright_is_seen_upright(tmp_path, matrix, turns):
    """By the matrix of the track header, as in QuickTime's file format: x' = a x + c y, y down."""
    source = write_film(tmp_path / "in.mp4", pan(2))
    plain = next(film_reading.frames(film_reading.inspect(source))).image
    data = bytearray(source.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    place = data.index(b"tkhd") + 44
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    source.write_bytes(data)
    film = film_reading.inspect(source)
    turned = next(film_reading.frames(film)).image
    np.testing.assert_array_equal(turned, np.rot90(plain, turns))
    convert(source, tmp_path / "out.mp4")
    assert read_film(tmp_path / "out.mp4")[0][0].shape == turned.shape


@pytest.mark.parametrize(("height", "luma"), [(64, (0.299, 0.114)), (720, (0.2126, 0.0722))])
def test_films_without_a_mark_have_the_colors_of_their_size(tmp_path, height, luma):
    """ITU-R BT.601 below 720 lines, BT.709 from there on: Y'CbCr by hand from red."""
    red, blue = luma
    y, cb, cr = red, -red / (2 - 2 * blue), 0.5
    planes = (
        [16 + 219 * y] * height
        + [128 + 224 * cb] * (height // 4)
        + [128 + 224 * cr] * (height // 4)
    )
    frame = av.VideoFrame.from_ndarray(
        np.rint(np.tile(np.array(planes)[:, None], 32)).astype(np.uint8), "yuv420p"
    )
    frame.pts = 0
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, height, "yuv420p"
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    image = next(film_reading.frames(film_reading.inspect(tmp_path / "in.mkv"))).image
    np.testing.assert_allclose(image.reshape(-1, 3).mean(axis=0), (255, 0, 0), atol=3)


@pytest.mark.parametrize("stopped_after", [3, 5])
def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_stopped(
    tmp_path, monkeypatch, stopped_after
):
    monkeypatch.setattr(conversion, "PART_FRAMES", 2)
    source = write_film(tmp_path / "in.mkv", pan(7))
    convert(source, tmp_path / "whole.mkv", smooth=True)
    draw, drawn = FrameStylizer.__call__, []

    def limited(self, frame):
        if len(drawn) == stopped_after:
            raise KeyboardInterrupt
        drawn.append(1)
        return draw(self, frame)

    with monkeypatch.context() as patched:
        patched.setattr(FrameStylizer, "__call__", limited)
        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "out.mkv", smooth=True)
    assert not (tmp_path / "out.mkv").exists()
    again = []
    monkeypatch.setattr(
        FrameStylizer, "__call__", lambda self, frame: again.append(1) or draw(self, frame)
    )
    assert convert(source, tmp_path / "out.mkv", smooth=True) == 7
    assert len(again) == 7 - stopped_after // 2 * 2
    whole, out = (read_film(tmp_path / name)[0] for name in ("whole.mkv", "out.mkv"))
    for one, other in zip(whole, out, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not (tmp_path / "out.mkv.parts").exists()


def test_one_run_at_a_time_draws_a_film(tmp_path):
    source, parts = write_film(tmp_path / "in.mkv", pan(2)), tmp_path / "out.mkv.parts"
    with folder_lock.locked(parts):
        with pytest.raises(UserError, match=r"out\.mkv\.parts is in use by process"):
            convert(source, tmp_path / "out.mkv")
        assert [path.name for path in parts.iterdir()] == [folder_lock.NAME]
    assert convert(source, tmp_path / "out.mkv") == 2 and not parts.exists()


@pytest.mark.parametrize("name", ["out.mkv.parts", "out.mkv.parts/mine.txt"])
def test_what_is_in_the_way_of_the_parts_stays(tmp_path, name):
    source, mine = write_film(tmp_path / "in.mkv", pan(2)), tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"out\.mkv\.parts is in the way"):
        convert(source, tmp_path / "out.mkv")
    assert mine.read_text() == "mine" and not list(tmp_path.rglob(folder_lock.NAME))


def test_parts_of_another_style_are_not_used(tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mkv", pan(3))
    convert(source, tmp_path / "plain.mkv")
    monkeypatch.setattr(film_writing, "join", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(source, tmp_path / "out.mkv", options=Options(strength=0.5))
    monkeypatch.undo()
    convert(source, tmp_path / "out.mkv")
    plain, out = (read_film(tmp_path / f"{name}.mkv")[0] for name in ("plain", "out"))
    for one, other in zip(plain, out, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gif_in_and_out(tmp_path):
    source = write_film(tmp_path / "in.mkv", pan(4))
    assert convert(source, tmp_path / "out.gif") == 4
    assert len(read_film(tmp_path / "out.gif")[0]) == 4
    assert convert(tmp_path / "out.gif", tmp_path / "again.mp4") == 4


def gif_seconds(path) -> float:
    with Image.open(path) as gif:
        return sum(each.info["duration"] for each in ImageSequence.Iterator(gif)) / 1000


def test_a_gif_of_a_still_scene_lasts_as_long_as_the_film(tmp_path):
    frames = [*pan(1) * 4, *pan(2), *pan(1) * 2]
    assert convert(write_film(tmp_path / "in.mkv", frames), tmp_path / "out.gif") == 8
    assert gif_seconds(tmp_path / "out.gif") == 0.8
    assert convert(write_film(tmp_path / "still.mkv", pan(1) * 3), tmp_path / "still.gif") == 3
    assert gif_seconds(tmp_path / "still.gif") == 0.3


@pytest.mark.parametrize("rate", [30, 60])
def test_a_gif_of_a_fast_film_is_as_fast(tmp_path, rate):
    source = write_film(tmp_path / "in.mkv", pan(12), rate=rate)
    assert convert(source, tmp_path / "out.gif") == 12
    assert gif_seconds(tmp_path / "out.gif") == pytest.approx(12 / rate, abs=0.011)
    _, times = read_film(tmp_path / "out.gif")
    assert min(np.diff(times)) > 0.019  # browsers show shorter ones for longer


def test_a_scene_that_gif_cannot_hold_is_one_sentence(tmp_path):
    source = write_film(tmp_path / "in.mkv", pan(2), times=[0, 700_000])
    with pytest.raises(UserError, match=r"still for more than 655 s, .* ends in \.mkv"):
        convert(source, tmp_path / "out.gif")
    assert not (tmp_path / "out.gif").exists()


def test_odd_sides_are_kept(tmp_path):
    source = write_film(tmp_path / "in.mkv", pan(2))
    convert(source, tmp_path / "out.mkv", options=Options(size=33))
    assert read_film(tmp_path / "out.mkv")[0][0].shape == (33, 40, 3)


def test_a_film_that_ends_too_soon_is_drawn_to_its_end(tmp_path):
    source = write_film(tmp_path / "in.mkv", pan(12))
    data = source.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 3 // 4])
    assert 0 < convert(tmp_path / "cut.mkv", tmp_path / "out.mkv") < 12


@pytest.mark.parametrize("moved", [(0, 2), (3, 0), (2, -5), (0, 0)])
def test_motion_of_the_camera(moved):
    big = np.repeat(np.repeat(SCENE, 3, 0), 3, 1).astype(np.float32).mean(-1) / 255
    down, right = moved
    before = big[20:140, 20:220]
    after = big[20 - down : 140 - down, 20 - right : 220 - right]
    np.testing.assert_allclose(camera_motion.motion(before, after), moved, atol=0.3)


def test_a_cut_is_no_motion():
    dark, bright = np.zeros((40, 40), np.float32), np.ones((40, 40), np.float32)
    assert camera_motion.motion(dark, bright) is None
    noise = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32) * 0.1
    assert camera_motion.motion(*noise) == (0, 0)


@pytest.mark.parametrize("right", [3, 4])
def test_noise_and_grid_move_with_the_camera(right):
    """What is drawn of a panned scene is the same drawing, panned."""
    frames = pan(3, right=right)
    still, moving = (
        [drawing(frame).astype(float) for frame in frames]
        for drawing in (FrameStylizer(stylizer(0.3), Options(), smooth=s) for s in (False, True))
    )
    changes = [
        np.abs(drawn[2][8:-8, 8:-16] - drawn[1][8:-8, 8 + right : right - 16]).mean()
        for drawn in (still, moving)
    ]
    assert changes[1] < changes[0] / 2


def test_a_still_scene_with_a_stroke_size_stays_as_it_is_drawn_alone():
    """The network runs twice for a frame; what one pass sees must not mix with the other."""
    options = Options(stroke_size=1.5)
    smooth, resumed = (FrameStylizer(stylizer(), options, smooth=True) for _ in range(2))
    alone = stylizer().draw(SCENE, options)
    for _ in range(2):
        np.testing.assert_allclose(smooth(SCENE), alone, atol=1)
    resumed.restore(smooth.state)
    darker = SCENE // 4 * 3
    following = smooth(darker)
    np.testing.assert_array_equal(resumed(darker), following)
    assert np.abs(following.astype(int) - stylizer().draw(darker, options)).max() > 1


def test_moments_are_averaged_over_time_and_begin_anew_after_a_cut():
    dark, bright = pan(1)[0] // 8, 255 - pan(1)[0] // 8
    smooth = FrameStylizer(stylizer(), Options(), smooth=True)
    smooth(dark)
    np.testing.assert_array_equal(smooth(bright), stylizer().draw(bright))  # a cut
    similar = np.clip(bright.astype(int) - 40, 0, 255).astype(np.uint8)
    assert np.abs(smooth(similar).astype(int) - stylizer().draw(similar)).max() > 1


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("gone.mkv", "out.mp4", "gone.mkv: there is no such file"),
        ("text.mkv", "out.mp4", "this is no film"),
        ("in.mkv", "out.avi", r"ends in one of \.mp4"),
        ("in.mkv", "in.mkv", "another --out"),
        ("sound.mp4", "out.mp4", "has no pictures"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(tmp_path, name, out, message):
    write_film(tmp_path / "in.mkv", pan(2))
    (tmp_path / "text.mkv").write_text("no film")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        voice = container.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux([*voice.encode(silence), *voice.encode()])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        convert(tmp_path / name, tmp_path / out)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_film(tmp_path / "in.mkv", pan(3))
    stylizer().save(tmp_path / "all.safetensors")
    commands.main(["video", "all.safetensors", "in.mkv", "--out=out.mp4", "--strength=0.5"])
    assert "wrote out.mp4: 3 frames" in capsys.readouterr().out
    assert len(read_film(tmp_path / "out.mp4")[0]) == 3
    with pytest.raises(UserError, match="--quality must be between 0 and 51"):
        commands.main(["video", "all.safetensors", "in.mkv", "--out=o.mp4", "--quality=99"])


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(film_reading, "av", None)
    with pytest.raises(UserError, match=r"pip install 'metastyle_jax\[video\]'"):
        convert(tmp_path / "in.mkv", tmp_path / "out.mkv")


def test_a_film_that_loses_frames_is_not_kept_and_an_older_one_stays(tmp_path, monkeypatch):
    source = write_film(tmp_path / "in.mkv", pan(2))
    (tmp_path / "out.mkv").write_text("older")
    monkeypatch.setattr(film_writing, "_mux", lambda parts, film, path: path.write_bytes(b""))
    monkeypatch.setattr(film_writing, "count_frames", lambda path: 1)
    with pytest.raises(UserError, match="1 of 2 frames arrived"):
        convert(source, tmp_path / "out.mkv")
    assert (tmp_path / "out.mkv").read_text() == "older"


def test_a_film_among_the_parts_is_refused(tmp_path):
    source = write_film(tmp_path / "in.mkv", pan(2))
    inside = tmp_path / "out.mkv.parts" / "in.mkv"
    inside.parent.mkdir()
    inside.write_bytes(source.read_bytes())
    with pytest.raises(UserError, match=r"in\.mkv"):
        convert(inside, tmp_path / "out.mkv")
    assert inside.exists()
