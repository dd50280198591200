"""What commands take the first time, and the second time, when compiled programs are kept.

    python benchmarks/start_up.py --content=PHOTO.jpg --out=runs/start_up

Each command runs in processes of its own: with an empty cache of compiled programs, with the one
that this left, and without any. The pictures and files of all three must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parents[1]
RUNS = {  # the first, the second, and one without kept programs
    "first": {},
    "second": {},
    "nothing kept": {"JAX_ENABLE_COMPILATION_CACHE": "false"},
}


def commands(content: Path) -> dict[str, list[str]]:
    metastyle = ["-m", "metastyle_jax"]
    return {
        "metastyle packs": [*metastyle, "packs"],
        "metastyle stylize, 512 px": [
            *(*metastyle, "stylize", "pack:starry_night", str(content)),
            *("--size=512", "--out=OUT"),
        ],
        "python adapt.py, compact": ["adapt.py", "--features=compact", "--out=OUT"],
        "python train.py, smoke": [
            *("train.py", "--config=configs/smoke.py", "--workdir=OUT"),
            "--config.log.sheet_every=0",
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.node()}, {cores} cores, jax {jax.__version__}\n")
    print("| command | " + " | ".join(f"{name}: s, CPU s" for name in RUNS) + " | the same |")
    print("|---" * (2 + len(RUNS)) + "|")
    for name, command in commands(args.content.resolve()).items():
        cache = args.out.resolve() / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        cells, results = [], set()
        for variables in RUNS.values():
            out = args.out.resolve() / "out"
            shutil.rmtree(out, ignore_errors=True)
            wall, cpu = run(command, out, {"METASTYLE_CACHE": str(cache), **variables})
            cells.append(f"{wall:.1f}, {cpu:.1f}")
            results.add(digest(out))
        same = "yes" if len(results) == 1 else "no"
        print(f"| {name} | {' | '.join(cells)} | {same} |", flush=True)


def run(command: list[str], out: Path, variables: dict[str, str]) -> tuple[float, float]:
    """Seconds of the clock and of processors."""
    words = [word.replace("OUT", str(out)) for word in command]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def digest(out: Path) -> str:
    """Of the pictures, and of the losses of a training."""
    state = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        if path.suffix in (".png", ".jpg"):
            state.update(path.read_bytes())
        if path.name == "metrics.jsonl":
            records = map(json.loads, path.read_text().splitlines())
            state.update(str([record["outer_loss"] for record in records]).encode())
    return state.hexdigest()


if __name__ == "__main__":
    main()
