"""Kills, stops, flipped bits, cut files and full disks: nothing is lost, and no damage is read.

    python benchmarks/faults.py --out=runs/faults --kills=200 --terms=100 --flips=500

A tiny training writes a checkpoint after every step, so that many of the kills fall into a write.
After each kill the newest checkpoint must be, bit for bit, the one of a run that nobody disturbed,
and the run must go on from it. A flipped bit or a cut file must be refused, never read. A full disk
(a tmpfs of growing size; needs root) must end the run in one sentence with an intact checkpoint.

What was counted is kept in OUT, so a run that is stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage import checkpoint_files, style_file
from metastyle_jax.storage.atomic import atomic_path
from metastyle_jax.storage.checkpoint_files import Damaged

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "data.content": "procedural:8",
    "data.style": "procedural:8",
    "data.image_size": 16,
    "data.threads": 0,
    "model.width": 4,
    "model.residual_blocks": 0,
    "features.network": "compact",
    "objective.content_layers": "('relu1_2',)",
    "objective.style_layers": "('relu1_1','relu1_2')",
    "batch.styles": 1,
    "batch.contents": 1,
    "log.every": 1,
    "log.sheet_every": 0,
    "checkpoint.every": 1,
}
LONGEST = 1.0  # seconds from a step to the signal
DISKS = range(64, 2048, 64)  # kB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--terms", type=int, default=100)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    signals = {"SIGKILL": (signal.SIGKILL, args.kills), "SIGTERM": (signal.SIGTERM, args.terms)}
    for name, (number, count) in signals.items():
        disturb(args.out, name, number, count, rng)
    reference = args.out / "reference"
    for name, damage in (("bits flipped", flipped), ("files cut", cut)):
        refuse(args.out, name, reference, damage, args.flips, rng)
    fill(args.out)
    print(table(args.out))


def disturb(out: Path, name: str, number: signal.Signals, count: int, rng: random.Random) -> None:
    """Send a signal to a run at random instants, `count` times, each time to go on with it."""
    workdir, reference = out / name, out / "reference"
    while (done := kept(out).get(name, {"done": 0}))["done"] < count:
        process = start(workdir, 10**6, "--resume")
        begun = newest(workdir)
        while process.poll() is None and newest(workdir) == begun:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, LONGEST))
        process.send_signal(number)
        output = process.communicate()[0]
        expected = -signal.SIGKILL if number == signal.SIGKILL else 130
        if process.returncode != expected:
            raise SystemExit(f"exit code {process.returncode} after {name}:\n{output[-2000:]}")
        halves = len(list((workdir / "checkpoints").glob("*.incomplete*")))
        compare(workdir, reference, newest(workdir))
        within = done.get("within a write", 0) + bool(halves)
        keep(out, name, {"done": done["done"] + 1, "within a write": within})
        print(f"{name} {done['done'] + 1}/{count}: step {newest(workdir)}", flush=True)


def start(workdir: Path, steps: int, *flags: str) -> subprocess.Popen[str]:
    settings = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    command = [sys.executable, "train.py", "--config=configs/default.py", f"--workdir={workdir}"]
    return subprocess.Popen(
        [*command, *settings, f"--config.outer.steps={steps}", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def newest(workdir: Path) -> int:
    """Step of the newest complete checkpoint; 0 without one."""
    names = [path.name for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    return max(map(int, names), default=0)


def compare(workdir: Path, reference: Path, step: int) -> None:
    """The checkpoint of a step against that of a run that nobody disturbed."""
    if newest(reference) < step:
        flags = ["--resume", "--config.checkpoint.keep=1000000"]
        process = start(reference, step + 50, *flags)
        output = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"the reference ended with {process.returncode}:\n{output[-2000:]}")
    found, expected = (read(path / "checkpoints" / str(step)) for path in (workdir, reference))
    if found.keys() != expected.keys():
        raise SystemExit(f"{workdir}@{step} has other arrays than {reference}")
    for name, array in expected.items():
        if found[name].tobytes() != array.tobytes():
            raise SystemExit(f"{workdir}@{step}: {name} differs")


def read(folder: Path) -> dict[str, np.ndarray]:
    return checkpoint_files.read_arrays(folder, checkpoint_files.read_record(folder))


Damage = Callable[[bytes, random.Random], bytes]


def refuse(
    out: Path, name: str, reference: Path, damage: Damage, count: int, rng: random.Random
) -> None:
    """Damage files one at a time; each must be refused when it is read."""
    if kept(out).get(name, {"done": 0})["done"] >= count:
        return
    bed = out / "damaged"
    shutil.rmtree(bed, ignore_errors=True)
    shutil.copytree(reference / "checkpoints" / str(newest(reference)), bed / "checkpoint")
    for shipped in ("init.safetensors", "sliders.safetensors", "packs/starry_night.safetensors"):
        shutil.copy(ROOT / "metastyle_jax" / "assets" / shipped, bed)
    files = [path for path in sorted(bed.rglob("*")) if path.is_file() and path.stat().st_size]
    missed = []
    for number in range(count):
        path = files[number % len(files)]
        sound = path.read_bytes()
        path.write_bytes(damage(sound, rng))
        if not refused(path, bed):
            missed.append(path.relative_to(bed).as_posix())
        path.write_bytes(sound)
    keep(out, name, {"done": count, "files": len(files), "missed": missed})


def flipped(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(8 * len(data))
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def refused(path: Path, bed: Path) -> bool:
    """Whether the program that reads this file says that it is damaged."""
    try:
        if path.is_relative_to(bed / "checkpoint"):
            read(bed / "checkpoint")
        elif path.name == "init.safetensors":
            style_file.load_params(path)
        else:
            style_file.load_style(path)
            style_file.load_adjuster(path)
    except (Damaged, UserError):
        return True
    return False


def fill(out: Path) -> None:
    """Train on disks that are too small by more and less."""
    name = "disks filled"
    if name in kept(out):
        return
    disk, ended = out / "disk", []
    disk.mkdir(exist_ok=True)
    for size in DISKS:
        with mounted(disk, size) as there:
            if not there:
                print("no tmpfs can be mounted here: full disks were not tried")
                return
            process = start(disk / "run", 30, "--config.checkpoint.keep=1000000")
            output = process.communicate()[0]
            if process.returncode == 0:
                break
            if process.returncode != 2 or "Traceback" in output:
                raise SystemExit(f"{size} kB: exit code {process.returncode}\n{output[-2000:]}")
            if step := newest(disk / "run"):
                compare(disk / "run", out / "reference", step)
            ended.append(step)
            print(f"a disk of {size} kB: step {step}, {output.splitlines()[-1][:100]}", flush=True)
    keep(out, name, {"done": len(ended), "with a checkpoint": sum(map(bool, ended))})


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[bool]:
    """A tmpfs of some kB; whether it could be mounted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    there = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", str(folder)], check=True)


def kept(out: Path) -> dict[str, dict]:
    path = out / "faults.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(out: Path, name: str, counted: dict) -> None:
    with atomic_path(out / "faults.json") as temporary:
        Path(temporary).write_text(json.dumps({**kept(out), name: counted}, indent=1))


def table(out: Path) -> str:
    return "\n".join(lines(kept(out)))


def lines(counted: dict[str, dict]) -> Iterator[str]:
    yield "| fault | times | what was seen |"
    yield "|---|---|---|"
    for name, values in counted.items():
        seen = ", ".join(f"{key}: {value}" for key, value in values.items() if key != "done")
        yield f"| {name} | {values['done']} | {seen} |"


if __name__ == "__main__":
    main()
