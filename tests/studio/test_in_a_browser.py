"""The studio in headless Chromium, as a visitor sees it; nothing leaves this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import browsing
import tiny
from browsing import SECONDS, WIDTHS
from browsing import browser as browser
from metastyle_jax.adaptation import starting_style
from metastyle_jax.cli import commands
from metastyle_jax.storage import initialization
from processes import QUICK_COMPILE

pytest.importorskip("gradio", reason="gradio is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = browsing.MARKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """A studio in a process of its own."""
    log = tmp_path_factory.mktemp("studio") / "log"
    folder = tmp_path_factory.mktemp("temporary")
    own = tmp_path_factory.mktemp("styles") / "own.safetensors"
    adjustable = initialization.load(initialization.ADJUSTABLE)
    artwork = np.asarray(tiny.images(1, 64, 64)[0])
    starting_style.stylizer_at_start(adjustable, artwork).save(own)
    command = [sys.executable, "-m", "metastyle_jax", "studio", str(own), "--port=0"]
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUICK_COMPILE, "TMPDIR": str(folder)},
        )
    try:
        for _ in range(SECONDS // 200):
            if found := re.search(r"styles on (http\S+)", log.read_text()):
                break
            assert process.poll() is None, log.read_text()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
        else:
            pytest.fail(log.read_text())
        yield found.group(1)
        assert "Traceback" not in log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert not list(folder.iterdir())  # nothing of the visitors is left


class Visitor(browsing.Visitor):
    """A page of the studio."""

    ready = "#sample"

    def drawing(self) -> str:
        """Something that changes with the picture."""
        return self.page.eval_on_selector_all("#result img", "images => images.map(x => x.src)")

    def draws_anew(self, act: Any) -> None:
        """`act` changes the picture."""
        before = self.drawing()
        act()
        self.page.wait_for_function(
            "before => { const now = [...document.querySelectorAll('#result img')]"
            ".map(x => x.src); return now.length && String(now) !== String(before); }",
            arg=before,
            timeout=SECONDS,
        )
        self.waits_for("pixels")

    def failed(self) -> bool:
        """Whether the line says that something did not work."""
        return self.page.locator("#status .status.failed").count() == 1

    def moves(self, slider: str, value: float) -> None:
        """Type a value; a tab that has just opened forgets what is typed too early."""
        field = self.page.locator(f"#{slider} input[type=number]")
        handle = self.page.locator(f"#{slider} input[type=range]")
        for _ in range(SECONDS // 200):
            field.fill(str(value))
            field.press("Enter")
            self.page.wait_for_timeout(200)
            if float(handle.input_value()) == value:
                return
        pytest.fail(f"{slider} does not move to {value}")


@pytest.fixture
def visitor(browser, address) -> Iterator[Visitor]:
    visitor = Visitor(browser, address)
    yield visitor
    visitor.leaves()


@pytest.fixture
def pictures(tmp_path) -> dict[str, Path]:
    random = np.random.default_rng(0)
    files = {}
    for name, size in (("photograph", (96, 128)), ("artwork", (80, 80)), ("small", (24, 40))):
        blocks = random.integers(0, 255, (size[0] // 8, size[1] // 8, 3), np.uint8)
        files[name] = tmp_path / f"{name}.png"
        Image.fromarray(blocks).resize(size[::-1]).save(files[name])
    return files


def upload(visitor: Visitor, where: str, file: Path) -> None:
    visitor.page.set_input_files(f"#{where} input[type=file]", file)


def test_every_slider_and_the_gallery_draw_anew(visitor, pictures):
    assert "Drop a photograph" in visitor.page.inner_text("#status")
    visitor.draws_anew(lambda: upload(visitor, "photograph", pictures["photograph"]))
    assert visitor.waits_for("pixels") == "128 x 96 pixels."
    for slider, value in (("strength", 0.5), ("stroke", 2)):
        visitor.draws_anew(lambda: visitor.moves(slider, value))  # noqa: B023
    visitor.draws_anew(lambda: visitor.page.locator("#colors input").nth(1).check())
    # the style of the command line comes first, and has sliders
    visitor.draws_anew(lambda: visitor.moves("alpha0", 0.1))
    assert "own" in visitor.page.locator("#gallery button").all_inner_texts()
    visitor.draws_anew(lambda: visitor.page.locator("#gallery button").nth(4).click())
    visitor.page.locator("#alpha0").wait_for(state="hidden")
    # what cannot be done is a sentence, and the studio goes on
    visitor.moves("stroke", 4)
    upload(visitor, "photograph", pictures["small"])
    visitor.waits_for("give a smaller stroke size")
    assert visitor.failed()
    visitor.draws_anew(lambda: upload(visitor, "photograph", pictures["photograph"]))
    with visitor.page.expect_download() as download:
        visitor.page.click("#picture_file")
    with Image.open(download.value.path()) as picture:
        assert picture.size == (128, 96)
    visitor.page.click("#make_onnx")
    visitor.waits_for("style.onnx is ready")
    with visitor.page.expect_download() as download:
        visitor.page.click("#onnx_file")
    session = onnxruntime.InferenceSession(download.value.path())
    assert [each.name for each in session.get_inputs()] == ["images"]


def test_adapting_shows_steps_and_leaves_a_pack(visitor, pictures, tmp_path, capsys):
    upload(visitor, "photograph", pictures["photograph"])
    visitor.waits_for("pixels")
    visitor.page.get_by_role("tab", name="Your artwork").click()
    visitor.page.click("#adapt")
    assert "the artwork is missing" in visitor.waits_for("missing")
    upload(visitor, "artwork", pictures["artwork"])
    visitor.moves("steps", 5)
    visitor.page.locator("#sliders input").check()
    visitor.page.click("#adapt")
    visitor.waits_for("Compiling|Step")
    visitor.waits_for("Step [1-5] of 5, loss")
    visitor.page.wait_for_selector("#curve canvas, #curve svg")
    visitor.waits_for("pixels")  # it is drawn at full size at the end
    assert visitor.page.locator("#bar [role=progressbar]").get_attribute("aria-valuenow") == "100"
    visitor.draws_anew(lambda: visitor.moves("alpha0", 0.1))
    visitor.page.click("#make_pack")
    visitor.waits_for("ready")
    with visitor.page.expect_download() as download:
        visitor.page.click("#pack_file")
    file = tmp_path / "style.safetensors"
    download.value.save_as(file)
    commands.main(["inspect", str(file)])
    assert "whole" in capsys.readouterr().out
    # stopped, and gone on with
    visitor.moves("steps", 200)
    visitor.page.click("#further")
    visitor.waits_for("Step")
    visitor.page.click("#stop")
    visitor.waits_for("pixels")


def test_the_sliders_of_another_visitor_answer_beside_an_adaptation(visitor, browser, pictures):
    upload(visitor, "photograph", pictures["photograph"])
    visitor.page.get_by_role("tab", name="Your artwork").click()
    upload(visitor, "artwork", pictures["artwork"])
    visitor.moves("steps", 200)
    visitor.page.click("#adapt")
    visitor.waits_for("Step")
    other = Visitor(browser, visitor.page.url)
    upload(other, "photograph", pictures["photograph"])
    other.waits_for("pixels")
    other.draws_anew(lambda: other.moves("strength", 0.5))
    assert "Step" in visitor.page.inner_text("#status")  # it is not done yet
    other.page.get_by_role("tab", name="Your artwork").click()
    upload(other, "artwork", pictures["artwork"])
    other.moves("steps", 1)
    other.page.click("#adapt")
    visitor.page.wait_for_timeout(2000)
    assert "Step" not in other.page.inner_text("#status")  # it waits for its turn
    other.page.click("#stop")
    other.page.wait_for_timeout(500)  # it is pressed before there is a place in the line
    visitor.page.click("#stop")
    visitor.waits_for("pixels")
    other.waits_for("Stopped before the first step")
    other.page.click("#adapt")
    other.waits_for("Step 1 of 1|pixels|Done")
    other.page.close()


def test_blending_on_the_pad_by_pointer_and_by_keys(visitor, pictures):
    upload(visitor, "photograph", pictures["photograph"])
    visitor.waits_for("pixels")
    visitor.page.get_by_role("tab", name="Blend").click()
    area = visitor.page.locator("#pad .pad-area")
    visitor.draws_anew(lambda: area.click(position={"x": 20, "y": 20}))
    knob = visitor.page.locator("#pad .pad-knob").get_attribute("style")
    visitor.draws_anew(lambda: visitor.page.keyboard.press("ArrowRight"))
    assert visitor.page.locator("#pad .pad-knob").get_attribute("style") != knob


def test_painted_regions_get_styles_of_their_own(visitor, pictures):
    upload(visitor, "photograph", pictures["photograph"])
    visitor.waits_for("pixels")
    visitor.page.get_by_role("tab", name="Regions").click()
    visitor.page.click("#regions")
    visitor.waits_for("no region is painted")
    canvas = visitor.page.locator("#editor canvas").first
    canvas.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    visitor.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    visitor.page.mouse.down()
    visitor.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    visitor.page.mouse.up()
    visitor.draws_anew(lambda: visitor.page.click("#regions"))


def test_random_variations_and_the_camera(visitor, pictures):
    upload(visitor, "photograph", pictures["photograph"])
    visitor.waits_for("pixels")
    visitor.page.get_by_role("tab", name="Random").click()
    visitor.moves("count", 2)
    visitor.page.click("#random")
    visitor.waits_for("2 of 2 variations")
    visitor.page.wait_for_selector("#variations img >> nth=1")
    visitor.page.get_by_role("tab", name="Webcam").click()
    visitor.page.locator("#camera button:visible").first.click()  # lets the camera be used
    visitor.page.click("#camera .capture-button")
    visitor.page.wait_for_selector("#frames img")


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_fits_its_window(browser, address, width):
    visitor = Visitor(browser, address, width)
    visitor.page.click("#sample")
    visitor.waits_for("pixels")
    assert visitor.fits()
    if folder := os.environ.get("METASTYLE_SCREENSHOTS"):
        visitor.page.screenshot(path=f"{folder}/studio_{width}.png", full_page=True)
    visitor.leaves()


def test_a_broken_file_is_one_sentence(visitor, tmp_path):
    file = tmp_path / "broken.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    upload(visitor, "photograph", file)
    visitor.waits_for("the photograph: .*(damaged|known format|opened)")
    assert visitor.failed()
