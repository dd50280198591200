"""The exported page in headless Chromium, by WebAssembly: it draws what `stylize` draws."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import browsing
import metastyle_jax as ms
from browsing import WIDTHS, Visitor
from browsing import browser as browser
from metastyle_jax.errors import UserError

pytestmark = browsing.MARKS


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page") / "out"
    try:
        ms.export_page(folder)
    except UserError as error:
        if "cannot download" not in str(error):
            raise
        pytest.skip(f"onnxruntime-web cannot be had: {error}")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 20_000_000
    handler = functools.partial(Server, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def visitor(browser, address) -> Iterator[Visitor]:
    visitor = Visitor(browser, address)
    visitor.waits_for("384 x 384 pixels")  # the sample is drawn
    yield visitor
    visitor.leaves()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> Path:
    """No multiple of 4, so that it is padded."""
    path = tmp_path_factory.mktemp("photograph") / "photograph.png"
    blocks = np.random.default_rng(0).integers(0, 255, (13, 17, 3), np.uint8)
    Image.fromarray(blocks).resize((130, 98), Image.Resampling.BICUBIC).save(path)
    return path


def saved(visitor: Visitor) -> np.ndarray:
    with visitor.page.expect_download() as download:
        visitor.page.click("#save")
    with Image.open(download.value.path()) as picture:
        return np.asarray(picture.convert("RGB"), np.int64)


def moves(visitor: Visitor, slider: str, value: float) -> None:
    """As a person moves it: the page hears of it."""
    visitor.page.locator(f"#{slider}").fill(str(value))


def at_rest(visitor: Visitor) -> None:
    visitor.page.wait_for_selector("#bar", state="hidden")


def test_pictures_are_those_of_stylize(visitor, photograph):
    assert visitor.page.evaluate("self.crossOriginIsolated")  # so it draws in several threads
    visitor.page.set_input_files("#photograph", photograph)
    visitor.waits_for("130 x 98 pixels")
    picture = np.asarray(Image.open(photograph))
    first, second = (ms.load(f"pack:{name}") for name in ("starry_night", "great_wave"))
    blend = ms.blend([(first, 0.75), (second, 0.25)])
    visitor.page.select_option("#size", "0")
    for values, expected in (
        ({}, first(picture)),
        ({"strength": 0.5}, first(picture, strength=0.5)),
        ({"strength": 1.5}, first(picture, strength=1.5)),
        ({"strength": 1, "share": 0.25}, blend(picture)),
    ):
        if "share" in values:
            visitor.page.select_option("#other", label="The Great Wave off Kanagawa")
        for slider, value in values.items():
            moves(visitor, slider, value)
        at_rest(visitor)
        difference = np.abs(saved(visitor) - np.asarray(expected, np.int64)).max()
        assert difference <= 2, (values, difference)


def test_a_style_by_keyboard_and_the_photograph_beneath(visitor, photograph):
    visitor.page.set_input_files("#photograph", photograph)
    visitor.waits_for("130 x 98 pixels")
    before = saved(visitor)
    visitor.page.locator("#styles input").first.focus()
    visitor.page.keyboard.press("ArrowRight")
    at_rest(visitor)
    assert np.abs(saved(visitor) - before).mean() > 5
    visitor.page.check("#before")
    assert (saved(visitor) == np.asarray(Image.open(photograph))).all()


def test_the_camera_is_drawn_until_a_picture_is_kept(visitor):
    visitor.page.click("#camera")
    visitor.waits_for("256 x 192 pixels")
    visitor.page.click("#camera")
    visitor.waits_for("640 x 480 pixels")  # of the fake camera
    at_rest(visitor)


def test_what_is_no_picture_is_one_sentence(visitor, tmp_path):
    file = tmp_path / "broken.png"
    file.write_bytes(b"nothing")
    visitor.page.set_input_files("#photograph", file)
    visitor.waits_for("broken.png is no picture that this browser reads")
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 40)).save(small)
    visitor.page.set_input_files("#photograph", small)
    visitor.waits_for("small.png is smaller than 16 pixels")


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_fits_its_window(browser, address, width):
    visitor = Visitor(browser, address, width)
    visitor.waits_for("384 x 384 pixels")
    at_rest(visitor)
    assert visitor.fits()
    if folder := os.environ.get("METASTYLE_SCREENSHOTS"):
        visitor.page.screenshot(path=f"{folder}/web_{width}.png", full_page=True)
    visitor.leaves()
