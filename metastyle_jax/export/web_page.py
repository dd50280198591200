"""A static page that draws in the browser alone: network, styles and onnxruntime-web."""

from __future__ import annotations

import gzip
import importlib.resources
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import metastyle_jax
from metastyle_jax.data import picture_writer
from metastyle_jax.errors import UserError
from metastyle_jax.export import contents, exporting, web_runtime
from metastyle_jax.export.exporting import Exported
from metastyle_jax.networks import input_noise, stylization_network
from metastyle_jax.storage import home_folder, initialization, style_packs
from metastyle_jax.storage.atomic import atomic_folder
from metastyle_jax.stylization import blending, loading, thumbnails
from metastyle_jax.stylization.stylizer import Stylizer

NETWORK = "network.onnx"
SAMPLE = "sample.jpg"
NOISE_LEVELS = 2**15 - 1
PAGE = ("index.html", "page.css", "page.js", "worker.js", "isolation.js")
LICENSE = """onnxruntime-web {version} (runtime.bin, {script}, {loader}) is under the MIT License:

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


class _Shown(NamedTuple):
    """A style on the page."""

    name: str
    title: str
    stylizer: Stylizer
    thumbnail: Path | None  # None: one is drawn


def export_page(
    path: str | os.PathLike[str],
    styles: Sequence[str | os.PathLike[str]] = (),
    *,
    init: str | None = None,
    runtime: Path | None = None,
) -> Exported:
    """Write a page that needs a file server and a browser, and nothing else.

    The network is ONNX with the style as an input, its kernels float16. The picture never leaves
    the browser.

    Args:
      path: folder to write, new or empty. It appears whole, or not at all.
      styles: what `load` takes, all of one network; none for the embedded packs.
      init: weights of the styles that have none of their own; None for those that they name.
      runtime: see `web_runtime.load`.

    Returns:
      The folder, with the difference of its network from `stylize`.

    Raises:
      UserError: a style, the path or the runtime cannot be used, the styles belong to different
        networks, or a package is missing.
    """
    target = home_folder.expanded(path)
    exporting.check("onnx", style_input=True)
    shown = _styles(styles, init)
    blending.check_one_network([each.stylizer for each in shown])
    parts = web_runtime.load(runtime)
    with atomic_folder(target) as folder:
        network = exporting.export_stylizer(
            shown[0].stylizer, folder / NETWORK, style_input=True, quantize="float16"
        )
        for name in PAGE:
            source = importlib.resources.files("metastyle_jax") / "assets" / "web" / name
            (folder / name).write_bytes(source.read_bytes())
        _write_runtime(folder, parts)
        about = {
            "version": metastyle_jax.__version__,
            "runtime": parts.version,
            "noise": _write_noise(folder),
            **_write_styles(folder, shown),
        }
        (folder / SAMPLE).write_bytes(_sample().read_bytes())
        (folder / "page.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return Exported(
        target,
        exporting.size_of(target),
        network.differences,
        [
            f"{len(shown)} styles, onnxruntime-web {parts.version}",
            f"look at it: python -m http.server --bind 127.0.0.1 --directory {target}",
        ],
    )


def _styles(styles: Sequence[str | os.PathLike[str]], init: str | None) -> list[_Shown]:
    packs = {style_packs.PREFIX + pack.name: pack for pack in style_packs.index()}
    shown: list[_Shown] = []
    specs = [os.fspath(style) for style in styles or packs]
    for style, its_init in zip(specs, loading.inits_of(specs, init), strict=True):
        stylizer = loading.load(style, init=its_init)
        if stylizer.sliders is not None:
            stylizer = stylizer.at({})
        if style in packs:
            pack = packs[style]
            shown.append(_Shown(pack.name, pack.title, stylizer, pack.thumbnail))
        else:
            name = Path(style).stem
            shown.append(_Shown(name, name.replace("_", " "), stylizer, None))
    names = [each.name for each in shown]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two styles are named {min(twice)}: give files of different names")
    return shown


def _sample() -> Path:
    return initialization.sample_images("contents")[-1]


def _write_runtime(folder: Path, parts: web_runtime.Runtime) -> None:
    script, loader = web_runtime.SCRIPT, web_runtime.LOADER
    for name in (script, loader):
        (folder / name).write_bytes(parts.files[name])
    # a third of the size; not named .gz, because some servers then say how to unpack it
    packed = gzip.compress(parts.files[web_runtime.WASM], mtime=0)
    (folder / "runtime.bin").write_bytes(packed)
    text = LICENSE.format(version=parts.version, script=script, loader=loader)
    (folder / "licenses.txt").write_text(text, encoding="utf-8")


def _write_noise(folder: Path) -> dict[str, Any]:
    """The input noise as whole numbers, and what makes them deviations."""
    texture = input_noise.texture()
    scale = float(np.abs(texture).max()) / NOISE_LEVELS
    levels = np.round(texture / scale).astype("<i2")
    (folder / "noise.bin").write_bytes(gzip.compress(levels.tobytes(), mtime=0))
    return {"side": len(texture), "scale": scale}


def _write_styles(folder: Path, shown: Sequence[_Shown]) -> dict[str, Any]:
    """Style vectors one after the other, the neutral one last if it is known; and their names."""
    vectors = [_vector(each.stylizer, each.stylizer.style) for each in shown]
    neutral = _neutral(shown)
    rows = np.stack([*vectors, *neutral])
    (folder / "styles.bin").write_bytes(rows.astype("<f4").tobytes())
    (folder / "styles").mkdir()
    entries = []
    for each in shown:
        thumbnail = f"styles/{each.name}.jpg"
        (folder / thumbnail).write_bytes(_thumbnail(each))
        noise = each.stylizer.input_noise
        entries.append(
            {"name": each.name, "title": each.title, "noise": noise, "thumbnail": thumbnail}
        )
    return {"length": rows.shape[1], "neutral": bool(neutral), "styles": entries}


def _neutral(shown: Sequence[_Shown]) -> list[np.ndarray]:
    """The style that strengths above 1 lead away from; none where a style knows none."""
    try:
        neutrals = [each.stylizer.neutral_style() for each in shown]
    except UserError:
        return []
    return [_vector(shown[0].stylizer, neutrals[0])]


def _vector(stylizer: Stylizer, style: stylization_network.Style) -> np.ndarray:
    return contents.style_vector(contents.ordered(style, stylizer.weights))


def _thumbnail(shown: _Shown) -> bytes:
    """JPEG."""
    if shown.thumbnail is not None:
        return shown.thumbnail.read_bytes()
    file = io.BytesIO()
    picture_writer.encode(file, "jpg", thumbnails.draw(shown.stylizer))
    return file.getvalue()
