"""A visitor of a page in headless Chromium; nothing may leave this machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]
SECONDS = 180_000  # most milliseconds to wait for anything: XLA compiles
WIDTHS = {"wide": 1280, "phone": 390}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield chromium
        chromium.close()


class Visitor:
    """A page, with what it asked of other hosts and its errors."""

    ready = "#status"  # a part that is there once the page is

    def __init__(self, browser: Any, address: str, width: int = WIDTHS["wide"]) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", self._request)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.set_default_timeout(SECONDS)
        self.page.goto(address)
        self.page.wait_for_selector(self.ready)

    def _request(self, request: Any) -> None:
        if not re.match(r"(http|ws)://127\.0\.0\.1[:/]|data:|blob:", request.url):
            self.foreign.append(request.url)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def waits_for(self, pattern: str) -> str:
        """The line that says what happens, once it matches."""
        # says what it found instead when it fails, and needs no JavaScript that a page may forbid
        playwright.expect(self.page.locator("#status")).to_have_text(
            re.compile(pattern), timeout=SECONDS
        )
        return self.page.inner_text("#status")

    def fits(self) -> bool:
        """Nothing is wider than the window."""
        width = self.page.viewport_size["width"]
        return self.page.evaluate("document.documentElement.scrollWidth") <= width

    def leaves(self) -> None:
        """Close the page; nothing was asked of other hosts, and no error was written."""
        self.page.close()
        assert self.foreign == []
        assert self.errors == []
