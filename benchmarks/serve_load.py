"""`metastyle serve` under load on loopback: seconds per answer, answers per second, memory.

    python benchmarks/serve_load.py --content=PHOTO.jpg --requests=40 --size=256

Rows: 1, 4 and 16 clients that ask again as soon as they are answered, and three times as many as
the line of the server holds. Then, with --long, many requests of many sizes. Then pictures that are
damaged in some way, of every format. The server has a line of 16 requests; counts are bounded by
--requests.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jax
import mutated_pictures

ROOT = Path(__file__).resolve().parents[1]
WAITING = 16
CLIENTS = (1, 4, 16, 3 * (WAITING + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--content", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=40, help="in each row")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--mutated", type=int, default=2000)
    parser.add_argument("--long", type=int, default=0, help="requests of a last row: see memory")
    parser.add_argument("--batch", type=int, default=0, help="of the server; 0 for its default")
    args = parser.parse_args()
    command = [sys.executable, "-m", "metastyle_jax", "serve", "--port=0", f"--waiting={WAITING}"]
    command += [f"--batch={args.batch}"] if args.batch else []
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        address = address_of(server)
        cores = len(os.sched_getaffinity(0))
        print(f"{platform.node()}, {cores} cores, jax {jax.__version__}, {args.size} px\n")
        print("| clients | answers | p50 s | p95 s | pictures/s | resident MB |")
        print("|---|---|---|---|---|---|")
        data = args.content.read_bytes()
        for clients in CLIENTS:
            print(row(address, data, args, clients, server.pid), flush=True)
        if args.long:
            print(memory_over(address, data, args, server.pid), flush=True)
        print(damaged(address, args.mutated), f"resident {resident(server.pid):.0f} MB")
    finally:
        server.terminate()
        print(f"exit code {server.wait(100)}")


def address_of(server: subprocess.Popen) -> str:
    assert server.stdout
    for line in server.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise SystemExit("the server did not start")


def row(address: str, data: bytes, args: argparse.Namespace, clients: int, pid: int) -> str:
    count = max(args.requests, clients)
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        asked = list(pool.map(lambda _: ask(address, data, args.size), range(count)))
    seconds = time.perf_counter() - begin
    times = sorted(time for status, time in asked if status == 200)
    statuses = Counter(status for status, _ in asked)
    said = ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
    p95 = times[min(len(times) - 1, int(0.95 * len(times)))]
    return (
        f"| {clients} | {said} | {statistics.median(times):.2f} | {p95:.2f} | "
        f"{len(times) / seconds:.2f} | {resident(pid):.0f} |"
    )


def memory_over(address: str, data: bytes, args: argparse.Namespace, pid: int) -> str:
    """Resident MB after each tenth of many requests, all of which have to be answered."""
    found, sizes = [], itertools.cycle(range(args.size // 2, args.size + 1))
    with ThreadPoolExecutor(4) as pool:
        for count in [args.long // 10] * 10:
            asked = pool.map(lambda _: ask(address, data, next(sizes)), range(count))
            if {status for status, _ in asked} != {200}:
                raise SystemExit("a request was not answered")
            found.append(f"{resident(pid):.0f}")
    return f"\nMB after each tenth of {args.long} requests of many sizes: {', '.join(found)}"


def ask(address: str, data: bytes, size: int | None) -> tuple[int, float]:
    begin = time.perf_counter()
    query = {"style": "starry_night"} | ({} if size is None else {"size": str(size)})
    answer = httpx.post(f"{address}/v1/stylize", params=query, content=data, timeout=120)
    return answer.status_code, time.perf_counter() - begin


def damaged(address: str, count: int) -> str:
    """Answers to damaged pictures; any other than a picture or a sentence ends this."""
    rng, sound, statuses = random.Random(0), mutated_pictures.sound_files(), Counter()
    for number in range(count):
        data = mutated_pictures.mutated(sound[number % len(sound)][0], rng)
        status, _ = ask(address, data, None)
        statuses[status] += 1
        if status not in (200, 413, 415, 422):
            raise SystemExit(f"status {status} for damaged picture number {number}")
    return f"\n{count} damaged pictures: {dict(sorted(statuses.items()))}; "


def resident(pid: int) -> float:
    """MB of memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


if __name__ == "__main__":
    main()
