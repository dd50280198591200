"""From a slider to the picture in headless Chromium: the studio, and the page of `export`.

    python benchmarks/browser_latency.py --content=PHOTO.jpg --style=ADJUSTABLE.safetensors

The style file comes from `metastyle adapt --adjustable`; its first layer's weight is moved, too.
Needs the extra `browser` and Chromium. The picture is drawn with a short side of 512 pixels, first
coarsely. Times are those of the page: from the slider to the picture's load, or to the canvas.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from playwright import sync_api

import metastyle_jax as ms

MILLISECONDS = 600_000  # most, for anything
SETTLED = 5_000  # after this nothing is drawn any more
WATCH_IMAGES = """() => {
  window.times = [];
  document.addEventListener('load', ({target}) => {
    if (target.closest?.('#result')) window.times.push(performance.now());
  }, true);
}"""
WATCH_CANVAS = """() => {
  window.times = [];
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...args) {
    window.times.push(performance.now());
    return put.apply(this, args);
  };
}"""
STATUS = "#status"


@contextlib.contextmanager
def studio(style: str) -> Iterator[str]:
    command = [sys.executable, "-m", "metastyle_jax", "studio", style, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"styles on (http\S+)", line):
                    yield found.group(1)
                    break
        finally:
            process.terminate()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def exported() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        ms.export_page(Path(folder) / "page")
        handler = functools.partial(Quiet, directory=str(Path(folder) / "page"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()


def in_studio(
    slider: str, page: sync_api.Page, content: Path, moves: int
) -> list[tuple[float, float]]:
    page.wait_for_selector("#sample")
    page.set_input_files("#photograph input[type=file]", content)
    page.evaluate(WATCH_IMAGES)
    at_rest(page)
    field = page.locator(f"#{slider} input[type=number]")

    def move(value: float) -> None:
        field.fill(str(value))
        field.press("Enter")

    # each drawing comes with two images: the photograph and what was drawn
    return [measure(page, move, 0.5 + 0.05 * n, per_drawing=2) for n in range(moves + 1)][1:]


def in_page(page: sync_api.Page, content: Path, moves: int) -> list[tuple[float, float]]:
    at_rest(page)  # it has begun anew, and drawn its sample
    page.evaluate(WATCH_CANVAS)
    page.set_input_files("#photograph", content)
    page.select_option("#other", index=2)
    at_rest(page)

    def move(value: float) -> None:
        page.locator("#share").fill(str(value))

    return [measure(page, move, 0.1 + 0.05 * n, per_drawing=1) for n in range(moves + 1)][1:]


def at_rest(page: sync_api.Page) -> None:
    sync_api.expect(page.locator(STATUS)).to_have_text(
        re.compile(r"\d+ x \d+ pixels"), timeout=MILLISECONDS
    )
    page.wait_for_timeout(SETTLED)


def measure(
    page: sync_api.Page, move: Callable[[float], None], value: float, *, per_drawing: int
) -> tuple[float, float]:
    """Seconds from a move to the coarse picture, and to the full one."""
    begin = page.evaluate("() => { window.times = []; return performance.now(); }")
    move(value)
    for _ in range(MILLISECONDS // 100):
        page.wait_for_timeout(100)
        times = page.evaluate("() => window.times")
        if len(times) >= 2 * per_drawing:
            break
    else:
        raise SystemExit(f"the picture did not change: {page.inner_text(STATUS)}")
    at_rest(page)
    return (times[per_drawing - 1] - begin) / 1000, (times[2 * per_drawing - 1] - begin) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", type=Path, required=True)
    parser.add_argument("--style", required=True)
    parser.add_argument("--moves", type=int, default=7)
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no chromium on this machine: install it")
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.node()}, {cores} cores, jax {jax.__version__}, {args.content.name}\n")
    print("| page | coarse picture: s, median (largest) | full picture |\n|---|---|---|")
    studio_here = functools.partial(studio, args.style)
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, serve, slide in (
            ("studio, strength", studio_here, functools.partial(in_studio, "strength")),
            ("studio, weight of a layer", studio_here, functools.partial(in_studio, "alpha0")),
            ("exported page, share of a blend", exported, in_page),
        ):
            with serve() as address:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.set_default_timeout(MILLISECONDS)
                page.goto(address)
                times = slide(page, args.content, args.moves)
                page.close()
            cells = (
                f"{statistics.median(each):.2f} ({max(each):.2f})"
                for each in zip(*times, strict=True)
            )
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
