"""`metastyle_jax.adapt`: from a style image to a stylizer in one call."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from PIL import Image

from metastyle_jax.adaptation import service, starting_style
from metastyle_jax.data import images, in_memory, input_files, resizing
from metastyle_jax.data.folder import FileSource
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.data.sources import open_source
from metastyle_jax.errors import UserError
from metastyle_jax.settings import ranges
from metastyle_jax.storage import home_folder, initialization
from metastyle_jax.stylization import loading
from metastyle_jax.stylization.stylizer import Stylizer

Picture = str | os.PathLike[str] | Image.Image | np.ndarray

SCALE = ranges.Range(1, ranges.LARGEST)
_RANGES = {
    "steps": ranges.count(),
    "learning_rate": ranges.RATE,
    "size": ranges.count(32),
    "batch": ranges.count(),
    "seed": ranges.count(0),
    "threads": ranges.count(0),
    "min_scale": SCALE,
    "max_scale": SCALE,
}


def adapt(
    style_image: Picture,
    contents: str | os.PathLike[str] | Sequence[Picture] | np.ndarray | None = None,
    *,
    init: str | os.PathLike[str] | Stylizer = initialization.EMBEDDED,
    start: str = "",
    features: str | None = None,
    style_size: int = 512,
    progress: Callable[[int, Mapping[str, float]], None] | None = None,
    **options: Any,
) -> Stylizer:
    """Adapt the network to one style image.

    With the defaults this takes 100 steps of Adam on the 3,200 parameters of the style; 25 where
    VGG-16 is not installed.

    Args:
      style_image: the path of an image file, a Pillow image, or an array (H, W, 3), uint8 or floats
        in [0, 1].
      contents: pictures to train on: a folder (searched recursively), a file, a pattern
        ("photos/*.jpg"), "tfds:NAME:SPLIT", "procedural:COUNT"; a list of files, Pillow images or
        arrays; an array (N, H, W, 3). None takes the four embedded samples.
      init: where to start: a stylizer, or what `load` takes; "adjustable" for sliders.
      start: the style to start from: "neutral", that of `init`; "predicted", what the predictor of
        `init` sees in the style image; "" for predicted where `init` has a predictor.
      features: feature network of the loss, such as "vgg16"; None for the one of the training, or
        "distilled" where that is not on this machine, with a logged warning.
      style_size: a style image whose short side is longer is resized to this many pixels.
      progress: called after each step with its number (from 1) and its losses, `{"loss", "content",
        "style"}`.
      options: any of `service.Options`: `steps`, `learning_rate=0.01` (0.0003 for "all"),
        `parameters="norm"` (or "all"; or "sliders", which has to start with some), `size=256` (side
        of the training crops in pixels), `batch=1` (contents per step), `seed=0` (of the order and
        crops of the contents).

    Returns:
      The stylizer. `Stylizer.save` writes it to a file.

    Raises:
      TypeError: an unknown option, or a picture of a wrong type.
      ValueError: an array that is no picture, or patterns in `parameters` that match nothing.
      UserError: a file cannot be read, a number is out of its range, or the loss is not finite.
    """
    chosen = _options(options)
    ranges.count(32).check("style_size", style_size)
    style = images.as_float(in_memory.as_picture(style_image, "the style image"))
    if min(style.shape[:2]) > style_size:
        style = resizing.resize_short_side(style, style_size)
    source = _source(contents, chosen.size)
    stylizer = _stylizer_at_start(init, style, start)
    beginning = service.start_from(stylizer, features=features or "")

    def after_step(
        step: int, reached: Stylizer, metrics: Mapping[str, float], seconds: float
    ) -> None:
        if progress is not None:
            progress(step, metrics)

    return service.adapt(beginning, style, source, chosen, on_step=after_step).stylizer


def _stylizer_at_start(init: Any, style: np.ndarray, start: str) -> Stylizer:
    """The stylizer to start with; a stylizer, a pack or a style file has no predictor."""
    initial = None if isinstance(init, Stylizer) else loading.initialization_of(init)
    if initial is not None:
        return starting_style.stylizer_at_start(initial, style, start)
    if start not in ("", starting_style.NEUTRAL):
        raise UserError(f"start={start!r} needs an initialization, not one style: leave it out")
    return init if isinstance(init, Stylizer) else loading.load(init)


def _options(given_options: Mapping[str, Any]) -> service.Options:
    known = [field.name for field in dataclasses.fields(service.Options)]
    for name in given_options:
        if name not in known:
            raise TypeError(f"adapt has no option {name!r}; there are {', '.join(known)}")
    for name, allowed in _RANGES.items():
        if given_options.get(name) is not None:
            allowed.check(name, given_options[name])
    options = service.Options(**given_options)
    ranges.Range(options.min_scale, ranges.LARGEST).check("max_scale", options.max_scale)
    return options


def _source(contents: Any, size: int) -> ImageSource:
    """Random access to the contents."""
    if contents is None:
        contents = initialization.sample_images("contents")
    if isinstance(contents, str | os.PathLike):
        path = home_folder.expanded(contents)
        if not (home_folder.is_file(path) or glob.has_magic(os.fspath(contents))):
            is_folder = home_folder.is_folder(path)
            return open_source(
                str(path) if is_folder else os.fspath(contents), "content", image_size=size
            )
        contents = [contents]
    if all(isinstance(content, str | os.PathLike) for content in contents):
        files = input_files.find_pictures(contents, "content folder").files
        return FileSource(files, "the contents", short_side=2 * size)
    pictures = [
        in_memory.as_picture(content, f"content {number}")
        for number, content in enumerate(contents)
    ]
    return cast(ImageSource, pictures)  # the index of a list has no name, that is all
