"""What a command line may name: files, folders, patterns, and nothing on the web."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metastyle_jax.data import decoding, images, input_files, listing
from metastyle_jax.errors import UserError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.jpg", "a.png", "more/c.jpg", "notes.txt", ".hidden.jpg"):
        (folder / name).touch()
    return folder


def test_files_folders_and_patterns_are_found_in_order(photos):
    found = input_files.find_pictures(
        [photos / "b.jpg", str(photos), f"{photos}/*.jpg", "gone.jpg"]
    )
    names = [path.name for path in found.files]
    assert names == ["b.jpg", "a.png", "b.jpg", "c.jpg", "b.jpg", "gone.jpg"]
    (note,) = found.notes
    assert "skipped 1 file" in note and note.endswith("notes.txt")
    deep = input_files.find_pictures([f"{photos}/**/*.jpg"])
    assert deep == ([photos / "b.jpg", photos / "more" / "c.jpg"], [])


def test_a_file_with_brackets_in_its_name_is_no_pattern(photos):
    (photos / "a[1].png").touch()
    assert input_files.find_pictures([photos / "a[1].png"]).files == [photos / "a[1].png"]


def test_a_pattern_that_nothing_matches_is_one_sentence(photos):
    with pytest.raises(UserError, match=r"\*\.bmp: no file matches"):
        input_files.find_pictures([f"{photos}/*.bmp"])
    with pytest.raises(UserError, match="2 files match"):
        input_files.one_file(f"{photos}/[ab].*")


@pytest.mark.parametrize("text", ["https://example.org/a.jpg", "HTTP://example.org/a", "s3://b/a"])
def test_an_address_on_the_web_has_to_be_downloaded_first(text):
    # argparse may have made a path of it
    for argument in (text, Path(text)):
        with pytest.raises(UserError, match="download it first"):
            input_files.find_pictures([argument])


def test_what_an_earlier_run_wrote_below_the_folder_is_no_input(photos):
    (photos / "out").mkdir()
    (photos / "out" / "a.png").touch()
    found = input_files.find_pictures([photos], without=photos / "out")
    assert [path.name for path in found.files] == ["a.png", "b.jpg", "c.jpg"]
    # but the folder itself can be asked for, and one that is not there yet hides nothing
    assert len(input_files.find_pictures([photos / "out"], without=photos / "out").files) == 1
    assert len(input_files.find_pictures([photos], without=photos / "gone").files) == 4


def test_what_an_earlier_run_wrote_is_no_match_of_a_pattern(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    (photos / "out" / "images").mkdir(parents=True)
    for name in ("out/b.jpg", "out/images/b.jpg"):
        (photos / name).touch()
    (photos / "linked").symlink_to(photos / "out")

    def names(pattern: str, without: str = "photos/out") -> list[str]:
        found = input_files.find_pictures([pattern], without=without).files
        return sorted({path.relative_to("photos").as_posix() for path in found})

    mine = ["b.jpg", "more/c.jpg"]
    assert names("photos/**/*.jpg") == names("photos/**/*.jpg", str(photos / "out")) == mine
    assert names("photos/*/*.jpg") == ["more/c.jpg"]
    assert names("photos/[mol]*") == ["more/c.jpg"]  # a folder that matches, too
    # one that the pattern names can be asked for, as where results go into the folder of the inputs
    assert names("photos/out/*.jpg") == ["out/b.jpg"]
    assert names("photos/out/images/*.jpg") == ["out/images/b.jpg"]
    assert names("photos/*.jpg", "photos") == ["b.jpg"]
    with pytest.raises(UserError, match=r"images/b\*: all files .* lie in photos/out, where"):
        names("photos/*/images/b*")


@pytest.mark.filterwarnings("ignore:IM image format")
def test_folders_take_every_kind_that_can_be_named_singly(tmp_path):
    """One picture written in every format that Pillow writes: read alone and found in a folder."""
    picture = Image.fromarray(np.full((20, 20, 3), 200, np.uint8))
    written = []
    for ending, name in Image.registered_extensions().items():
        path = tmp_path / f"{name}{ending}"
        try:
            picture.save(path)
            Image.open(path).load()
        except (OSError, ValueError, KeyError, TypeError):  # not this mode, or written only
            path.unlink(missing_ok=True)
        else:
            written.append(path)
    readable = []
    for path in written:
        try:
            images.read_image(path)
        except UserError:
            continue
        readable.append(path)
    assert {".jpg", ".jfif", ".tga", ".jp2", ".ico"} <= {path.suffix for path in readable}
    assert listing.list_folder(tmp_path, "folder").images == sorted(readable)


def test_many_skipped_files_are_counted_by_kind(photos):
    for number in range(5):
        (photos / f"{number}.XMP").touch()
    (photos / "README").touch()
    (note,) = input_files.find_pictures([photos]).notes
    assert "skipped 7 files" in note and note.endswith("5 .xmp, 1 no ending, 1 .txt")


def test_only_formats_of_pictures_are_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EOF\n")
    with pytest.raises(UserError, match="not an image of a known format"):
        images.read_image(tmp_path / "a.jpg")
    assert "EPS" not in decoding.formats()


def test_headers_tell_size_frames_and_what_is_wrong(tmp_path):
    frames = [Image.fromarray(np.full((20, 30), 60 * n, np.uint8)) for n in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.gif")
    header = images.inspect_image(tmp_path / "a.gif")
    assert header[:2] == (30, 20)
    assert header.notes == ("it has 4 frames, of which the first is used",)
    assert images.inspect_image(tmp_path / "still.gif").notes == ()
    os.mkfifo(tmp_path / "pipe")
    Image.new("RGB", (15, 99)).save(tmp_path / "small.png")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "empty.png").touch()
    wrong = {
        "small.png": "15x99",
        "dangling.png": "link to a file that is not there",
        "gone.png": "no such file",
        "empty.png": "empty",
        ".": "folder",
        "x" * 300: "too long",
        "pipe": "no ordinary file",
    }
    for name, words in wrong.items():
        with pytest.raises(UserError, match=words) as error:
            images.inspect_image(tmp_path / name)
        assert "\n" not in str(error.value)
