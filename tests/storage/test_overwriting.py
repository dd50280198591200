"""No command writes over what it reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metastyle_jax.errors import UserError
from metastyle_jax.storage.overwriting import refuse_inside, refuse_overwriting


def test_an_output_that_is_an_input_is_refused(tmp_path):
    photo = tmp_path / "a.png"
    photo.touch()
    with pytest.raises(UserError) as error:
        refuse_overwriting([tmp_path / "b.png", photo], [tmp_path / "c.png", photo])
    assert str(photo) in str(error.value) and "another --out" in str(error.value)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_other_names_of_an_input_are_no_way_round(tmp_path, link):
    (tmp_path / "photo.png").touch()
    (tmp_path / "out").mkdir()
    link(tmp_path / "photo.png", tmp_path / "out" / "photo.png")
    with pytest.raises(UserError, match=r"out/photo\.png .* input"):
        refuse_overwriting([tmp_path / "out" / "photo.png"], [tmp_path / "photo.png"])


def test_a_path_through_a_linked_folder_or_upwards_is_no_way_round(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for folder in ("link", "photos/../photos", "./photos"):
        with pytest.raises(UserError):
            refuse_overwriting([Path(folder) / "a.png"], [tmp_path / "photos" / "a.png"])


def test_what_is_not_there_and_what_is_another_file_pass(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    refuse_overwriting([tmp_path / "b.png", tmp_path / "new.png"], [tmp_path / "a.png"])
    refuse_overwriting([tmp_path / ("x" * 300)], [tmp_path / ("y" * 300), tmp_path / "a.png"])


def test_inputs_in_the_folder_of_a_command_are_refused(tmp_path):
    out, other = tmp_path / "out", tmp_path / "outside"
    for folder in (out / "images", other):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"a")
    (other / "link").symlink_to(out)
    refuse_inside(out, [other / "a.png"])
    for inside in (out / "images" / "a.png", other / "link" / "images" / "a.png"):
        with pytest.raises(UserError, match=r"a\.png lies in .*out, .* choose another --out"):
            refuse_inside(out, [inside])


def test_a_home_folder_is_no_way_round(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photo = tmp_path / "out" / "a.png"
    photo.parent.mkdir()
    photo.touch()
    with pytest.raises(UserError, match=r"a\.png .* input"):
        refuse_overwriting([photo], ["~/out/a.png"])
    with pytest.raises(UserError, match=r"a\.png .* input"):
        refuse_overwriting(["~/out/a.png"], [photo])
    with pytest.raises(UserError, match=r"a\.png lies in"):
        refuse_inside("~/out", [photo])
    with pytest.raises(UserError, match=r"a\.png lies in"):
        refuse_inside(photo.parent, ["~/out/a.png"])
