"""What sliders cost: pictures per second with weights of the style layers as an input, and without.

    taskset -c 0,1 python benchmarks/sliders_speed.py --out=runs/sliders_speed

Babaeizadeh & Ghiasi 2020 report 47.5 pictures per second with and 52.0 without, a ratio of 0.91.
"conditioned" computes the style within the program of every picture, as they do; "style once" does
it when a slider moves. Three sizes of the adjuster: the paper's, and those of configs/adjustable.py
and configs/meta_adjustable.py. The numbers in it do not matter for speed: they are random.
Repetitions alternate, the median counts. The last rows are what a person waits for: from a new
weight to the picture of `Stylizer.__call__`, the first time and later, and how many programs the
later ones compiled.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import result_files

import metastyle_jax as ms
from metastyle_jax.networks import adjuster, stylization_network
from metastyle_jax.stylization.sliders import Sliders

LAYERS = ("relu2_2", "relu3_3", "relu4_3")
ADJUSTERS = {
    "paper": {"hidden": 1000, "layers": 11},
    "adjustable": {"hidden": 128, "layers": 3},
    "meta_adjustable": {"hidden": 64, "layers": 2, "code": 8},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plain = ms.load("embedded")
    picture = np.random.default_rng(0).uniform(size=(args.size, args.size, 3)).astype(np.float32)
    methods = methods_of(plain, jax.device_put(picture[None]))
    for method in methods.values():
        method(0)  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(args.repeats):
        for name, method in methods.items():
            start = time.perf_counter()
            method(number / args.repeats)
            seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["unconditioned"])
    lines = [
        result_files.origin(f"{args.size} px"),
        "",
        "| | seconds | pictures/s, of the unconditioned network's |",
        "|---|---|---|",
    ]
    for name, each in seconds.items():
        median = statistics.median(each)
        lines.append(f"| {name} | {median:.3f} | {base / median:.3f} |")
    lines += waits(plain, picture, args.repeats)
    print("\n".join(lines))
    (args.out / "sliders_speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def methods_of(plain: ms.Stylizer, picture: jax.Array) -> dict[str, Callable[[float], None]]:
    """Functions of a weight, by name."""
    weights, style = plain.weights, dict(plain.style)
    draw = jax.jit(stylization_network.stylize)
    adjusted = jax.jit(adjuster.adjust)

    @jax.jit
    def conditioned(
        weights: stylization_network.Weights,
        params: adjuster.Params,
        alpha: jax.Array,
        style: stylization_network.Style,
        picture: jax.Array,
    ) -> jax.Array:
        return stylization_network.stylize(weights, adjuster.adjust(params, alpha, style), picture)

    def method(draw_at: Callable[[jax.Array], jax.Array]) -> Callable[[float], None]:
        def run(weight: float) -> None:
            jax.block_until_ready(draw_at(np.array([[weight, 1.0, 0.5]], np.float32)))

        return run

    # a row of styles, as the others have it
    rows = jax.tree.map(lambda leaf: leaf[None], style)
    methods = {"unconditioned": method(lambda alpha: draw(weights, rows, picture))}
    for name, sizes in ADJUSTERS.items():
        params = random_adjuster(style, **sizes)
        methods[f"conditioned, {name}"] = method(
            lambda alpha, params=params: conditioned(weights, params, alpha, style, picture)
        )
        once = adjusted(params, np.ones((1, len(LAYERS)), np.float32), style)
    methods["style once"] = method(lambda alpha: draw(weights, once, picture))
    return methods


def random_adjuster(style: dict, **sizes: int) -> adjuster.Params:
    return adjuster.init(jax.random.key(0), style, inputs=len(LAYERS), deviation=0.01, **sizes)


def waits(plain: ms.Stylizer, picture: np.ndarray, repeats: int) -> list[str]:
    """Rows of the seconds from a new weight to a picture."""
    params = random_adjuster(dict(plain.style), **ADJUSTERS["meta_adjustable"])
    stylizer = ms.Stylizer(
        plain.weights, plain.style, plain.input_noise, plain.record,
        Sliders(params, dict(plain.style), LAYERS),
    )  # fmt: skip
    rows = []
    for name, given in (("NumPy (tiles)", picture), ("JAX (one piece)", jax.device_put(picture))):
        seconds, compiled = [], []

        def heard(event: str, duration: float, compiled: list[str] = compiled, **_: str) -> None:
            if event.endswith("backend_compile_duration"):
                compiled.append(event)

        jax.monitoring.register_event_duration_secs_listener(heard)
        for number in range(repeats + 1):
            if number == 1:
                compiled.clear()
            start = time.perf_counter()
            weight = number / (repeats + 1)
            np.asarray(stylizer(given, alpha={LAYERS[0]: weight}))
            seconds.append(time.perf_counter() - start)
        later = statistics.median(seconds[1:])
        rows.append(f"| a slider moves, {name}: first | {seconds[0]:.3f} | |")
        rows.append(f"| later (median), programs compiled: {len(compiled)} | {later:.3f} | |")
    return rows


if __name__ == "__main__":
    main()
