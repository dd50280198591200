"""This project against PyTorch: the same steps, side by side in one run, and their ratios.

taskset -c 0,1 python benchmarks/against_pytorch.py --features vgg16 --out FILE.md
python benchmarks/against_pytorch.py --device cuda --size 256 --counts 4 --inner-steps 1

Repetitions alternate (JAX, PyTorch, JAX, ...), so that load on the machine hits both. Before a step
is timed, both sides must find the same loss and gradient. The PyTorch side is `pytorch_step.py`;
its fastest form counts. Memory is measured in a process of its own per side.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import both_sides
import jax
import numpy as np
import result_files
import torch
from pytorch_table import FORMS, HEADER, Case, Measured, record, row

# of the loss: float32 sums in another order; of the gradient (or picture): now and then a ReLU or
# a maximum falls the other way. That the formulas agree is proven in float64 by the tests.
TOLERANCE = {"cpu": (1e-4, 2e-2), "cuda": (1e-2, 5e-2)}


def main() -> None:
    args = parse()
    jax.config.update("jax_platforms", args.device)
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("high")  # on GPUs, as XLA does by default
    torch.backends.cudnn.benchmark = True
    chosen = [case for case in cases(args) if any(part in case.name for part in args.match)]
    if args.peak:
        print(peak_bytes(args, chosen[0].make(args.peak)))
        return
    lines = [f"{machine(args)}. Command: {' '.join(sys.argv)}", "", *HEADER]
    print("\n".join(lines), flush=True)
    notes: list[str] = []
    records: list[dict[str, Any]] = []
    for case in chosen:
        try:
            measured = measure(args, case, notes)
        except Exception as error:
            if not args.go_on:
                raise
            notes.append(f"- {case.name}: {_one_line(error)}")
        else:
            lines.append(row(measured))
            print(lines[-1], flush=True)
            records.append(record(measured))
        name = "against PyTorch, eager" if args.no_compile else "against PyTorch"
        result_files.add_result(args.json, name, {"steps": records, "notes": notes})
    lines += ["", *notes]
    print("\n".join(notes))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="compact", help="compact, vgg16 or vgg16:FILE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", choices=("outer", "adaptation", "inference"))
    parser.add_argument(
        "--match", nargs="+", default=[""], help="only steps whose name contains one of these"
    )
    parser.add_argument("--size", type=int, default=128, help="of an outer step, pixels")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2], help="styles = contents")
    parser.add_argument("--inner-steps", type=int, nargs="+", default=[1, 3], help="T")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=90, help="per step, after 3 repetitions")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu-time", action="store_true", help="for one thread on a busy core")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument(
        "--go-on", action="store_true", help="results that differ and failures become notes"
    )
    parser.add_argument("--peak", help=argparse.SUPPRESS)  # a form whose memory is printed
    parser.add_argument("--out", type=Path, help="the table")
    parser.add_argument("--json", type=Path, help="the same as JSON, after every step")
    return parser.parse_args()


def machine(args: argparse.Namespace) -> str:
    """One line that names what ran."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    device = torch.cuda.get_device_name() if args.device == "cuda" else names[0]
    return (
        f"{device}, {platform.machine()}, {len(os.sched_getaffinity(0))} of {len(names)} cores, "
        f"{args.threads} PyTorch threads, float32, {'CPU' if args.cpu_time else 'wall'} time; "
        f"jax {jax.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    )


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """All comparisons asked for."""
    setting = both_sides.make_setting(args.device, args.features)
    if args.only in (None, "outer"):
        for count, steps in itertools.product(args.counts, args.inner_steps):
            for estimator, target in (("exact", 1.5), ("first_order", None)):
                what = both_sides.Outer(count, steps, estimator, args.size)
                yield Case(what.name, target, functools.partial(both_sides.outer, setting, what))
    if args.only in (None, "adaptation"):
        for subset in ("norm", "all"):
            make = functools.partial(both_sides.adapt, setting, subset)
            yield Case(f"adaptation 256 px {subset}", 1.3, make)
    if args.only in (None, "inference"):
        for size in (256, 512):
            make = functools.partial(both_sides.inference, setting, size)
            yield Case(f"inference {size} px", 1.3, make)


def measure(args: argparse.Namespace, case: Case, notes: list[str]) -> Measured:
    """Both sides in turns; what does not work goes to `notes`."""
    sides, first = {}, {}
    for form in FORMS[: 3 if args.no_compile else 4]:
        try:
            side = case.make(form)
            first[form], value = seconds(args, side.run)
            if form != "jax":
                name = f"{case.name}, {form}"
                check(args, sides["jax"][1], side.result(value), name, notes)
            sides[form] = side, side.result(value)
        except Exception as error:
            if form != "compiled":
                raise
            notes.append(f"- {case.name}, torch.compile: does not work: {_one_line(error)}")
    runs = {form: side.run for form, (side, _) in sides.items()}
    times = interleave(args, runs)
    peaks = {form: measure_peak(args, case, form) for form in ("jax", "NCHW")}
    return Measured(case, times, first, peaks, sides["jax"][0])


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:300]


def check(args: argparse.Namespace, mine: Any, theirs: Any, name: str, notes: list[str]) -> None:
    """A benchmark of two different computations is worthless.

    Raises:
      AssertionError: loss, gradient or picture differ by more than rounding; with
        --go-on that is a note.
    """
    assert jax.tree.structure(mine) == jax.tree.structure(theirs), name
    for a, b, tolerance in zip(mine, theirs, TOLERANCE[args.device], strict=True):
        a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)]) for x in (a, b))
        error = float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
        message = f"{name}: relative difference {error:.1e}"
        if error >= tolerance and args.go_on:
            notes.append(f"- {message}")
        else:
            assert error < tolerance, message


def interleave(args: argparse.Namespace, runs: Mapping[str, Callable]) -> dict[str, float]:
    """Median seconds of every run, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    for count in range(args.repeat):
        if count >= 3 and time.perf_counter() - start > args.seconds:
            break
        for name, run in runs.items():
            times[name].append(seconds(args, run)[0])
    return {name: float(np.median(values)) for name, values in times.items()}


def seconds(args: argparse.Namespace, run: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of one run, its value)."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    start = clock()
    value = run()
    return clock() - start, value


def measure_peak(args: argparse.Namespace, case: Case, form: str) -> int | None:
    """`peak_bytes` in a process of its own."""
    if args.no_memory:
        return None
    command = [sys.executable, __file__, *sys.argv[1:], "--match", case.name, "--peak", form]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1])


def peak_bytes(args: argparse.Namespace, side: both_sides.Side) -> int:
    """Most bytes that two steps hold beyond what is there before them, compiled program included.

    CPU: peak resident memory of this process. CUDA: what each side's allocator counts.
    """
    if args.device == "cuda":
        side.run()
        return max(
            torch.cuda.max_memory_allocated(),
            jax.local_devices()[0].memory_stats()["peak_bytes_in_use"],
        )
    before = _status("VmRSS")
    # resets the peak to what is resident now: compiling is not part of the step
    Path("/proc/self/clear_refs").write_text("5")
    side.run()
    side.run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024


if __name__ == "__main__":
    main()
