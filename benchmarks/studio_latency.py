"""From a slider of the studio to the picture in the browser, and what a move compiles.

    pip install -e '.[browser]'        # and a Chromium
    python benchmarks/studio_latency.py --out=runs/studio

A photograph of 512 x 512 pixels is on the page. A slider is set MOVES times; measured in the page
are the milliseconds to the next picture, which is coarse, and to the line that says it is whole.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# sets a slider, and notes when the picture and the line change
SCRIPT = """
async ([slider, value]) => {
  const status = () => document.querySelector('#status').innerText;
  const pictures = () => [...document.querySelectorAll('#result img')].map(x => x.src).join();
  const field = document.querySelector(`#${slider} input[type=number]`);
  const before = pictures();
  const frame = () => new Promise(requestAnimationFrame);
  const begin = performance.now();
  field.value = value;
  field.dispatchEvent(new Event('input', { bubbles: true }));
  field.dispatchEvent(new Event('change', { bubbles: true }));
  field.dispatchEvent(new Event('blur', { bubbles: true }));
  while (pictures() === before) await frame();
  const first = performance.now() - begin;
  while (!/pixels/.test(status())) await frame();
  return [first, performance.now() - begin];
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / "log"
    with log.open("w") as file:
        studio = subprocess.Popen(
            [sys.executable, "-m", "metastyle_jax", "studio", "--port=0"],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        while not (found := re.search(r"styles on (http\S+)", log.read_text())):
            if studio.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.2)
        report = measure(found.group(1), args)
    finally:
        studio.send_signal(signal.SIGINT)
        studio.wait(30)
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print("| slider | first picture, ms: median, worst | whole picture, ms: median, worst |")
    print("|---|---|---|")
    for slider, times in report.items():
        cells = (
            f"{statistics.median(each):.0f}, {max(each):.0f}" for each in zip(*times, strict=True)
        )
        print(f"| {slider} | {' | '.join(cells)} |")


def measure(address: str, args: argparse.Namespace) -> dict[str, list[Any]]:
    """{slider: [[ms to the first picture, ms to the whole one], ...]}."""
    from playwright.sync_api import sync_playwright

    picture = args.out / "photograph.png"
    blocks = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(blocks).resize((512, 512)).save(picture)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.set_input_files("#photograph input[type=file]", picture)
        page.wait_for_function("/pixels/.test(document.querySelector('#status').innerText)")
        report = {}
        for slider, values in (
            ("strength", np.linspace(0.3, 1.0, args.moves)),
            ("stroke", np.resize((2.0, 1.0), args.moves)),
        ):
            report[slider] = [
                page.evaluate(SCRIPT, [slider, f"{value:.2f}"]) for value in values[1:]
            ]
        browser.close()
    return report


if __name__ == "__main__":
    main()
