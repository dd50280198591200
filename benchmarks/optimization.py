"""Optimization of the pixels: seconds for 500 steps against PyTorch, in one run.

python benchmarks/optimization.py --features vgg16 --sizes 256 512 --steps 500

The same picture, loss (Gram, relative) and Adam on every side; chunks of steps alternate, so that
load on the machine hits all. With fewer --steps the seconds are those of 500 at the same rate. Both
sides must reach the same loss.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import both_sides
import jax
import numpy as np
import pytorch_step
import torch

from metastyle_jax.pixels import image_optimization

RATE = 0.02
CHUNK = 25
QUOTED = 500  # steps that seconds are given for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="compact", help="compact, vgg16 or vgg16:FILE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--steps", type=int, default=QUOTED)
    args = parser.parse_args()
    jax.config.update("jax_platforms", args.device)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    setting = both_sides.make_setting(args.device, args.features)
    print(f"seconds for {QUOTED} steps, from {args.steps} steps on each side")
    print("| size | JAX | PyTorch NCHW | channels_last | PyTorch/JAX | JAX compiles |")
    print("|---|---|---|---|---|---|")
    for size in args.sizes:
        print(row(args, setting, size), flush=True)


def row(args: argparse.Namespace, setting: both_sides.Setting, size: int) -> str:
    content, style = both_sides.pictures(1, size, 0), both_sides.pictures(1, size, 1)
    start = time.perf_counter()
    advance_jax = jax_side(setting, content, style)
    advance_jax(1)
    compiled = time.perf_counter() - start
    sides: dict[str, Callable[[int], float]] = {"jax": advance_jax}
    for form in ("NCHW", "channels_last"):
        sides[form] = pytorch_side(setting, content, style, form)
        sides[form](1)
    seconds, losses = dict.fromkeys(sides, 0.0), {}
    done = 1
    while done < args.steps:
        count = min(CHUNK, args.steps - done)
        for name, advance in sides.items():
            start = time.perf_counter()
            losses[name] = advance(count)
            seconds[name] += time.perf_counter() - start
        done += count
    # hundreds of steps of Adam part rounding errors, but not the loss they reach
    for form in ("NCHW", "channels_last"):
        assert abs(losses[form] / losses["jax"] - 1) < 0.02, losses
    each = {name: value / (args.steps - 1) * QUOTED for name, value in seconds.items()}
    ratio = min(each["NCHW"], each["channels_last"]) / each["jax"]
    cells = [f"{size} px", *(f"{value:.0f} s" for value in each.values()), f"{ratio:.2f}"]
    return f"| {' | '.join([*cells, f'{compiled:.1f} s'])} |"


def jax_side(setting: both_sides.Setting, content: np.ndarray, style: np.ndarray) -> Any:
    """(steps) -> loss before the last of them."""
    settings = image_optimization.OptimizationSettings(both_sides.OBJECTIVE, learning_rate=RATE)
    targets = image_optimization.make_targets(both_sides.OBJECTIVE, setting.network, content, style)
    state = image_optimization.start(content, settings)
    loss = float("nan")

    def keep(reached: image_optimization.State, metrics: dict, seconds: float) -> None:
        nonlocal loss
        loss = float(metrics["loss"][0])

    def advance(steps: int) -> float:
        nonlocal state
        until = dataclasses.replace(settings, steps=state.step + steps)
        state = image_optimization.optimize(state, targets, setting.network, until, on_call=keep)
        return loss

    return advance


def pytorch_side(
    setting: both_sides.Setting, content: np.ndarray, style: np.ndarray, form: str
) -> Any:
    """The same in PyTorch."""
    place, _, network = setting.tensors(form)
    image = place.images(content)
    with torch.no_grad():
        contents = pytorch_step.content_targets(both_sides.PROBLEM, network, image)
        styles = pytorch_step.style_targets(both_sides.PROBLEM, network, place.images(style))
    pixels = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], RATE, fused=True)

    def advance(steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = pytorch_step.loss(both_sides.PROBLEM, network, pixels, contents, styles).sum()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
        return float(loss.detach())

    return advance


if __name__ == "__main__":
    main()
