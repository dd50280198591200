"""A stylizer: a network with one style, the noise it expects on its inputs, and its record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from metastyle_jax.data import decoding, images, in_memory
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.input_noise import add_noise
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import provenance
from metastyle_jax.storage import initialization, overwriting, style_file
from metastyle_jax.storage.digest import tree_digest


@dataclasses.dataclass(frozen=True)
class Record:
    """What is known of a stylizer.

    Attributes:
      name: where it comes from, for messages: a file, a workdir or "pack:NAME".
      settings: what it was made with, by dotted name (`"objective.style_weight"`).
      weights_name: what `initialization.load` takes to get its weights; "" if nothing does.
      weights_digest: SHA-256 of the weights of that name; "" without a name.
    """

    name: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights_name: str = ""
    weights_digest: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Stylizer:
    """A function from pictures to pictures in one style.

    Attributes:
      weights: of the stylization network, see `stylization_network.init`.
      style: `{layer: {"scale": (C,), "bias": (C,)}}`.
      input_noise: standard deviation of the noise that is added to a picture before it is drawn,
        0 to 1; 0 adds none. It is data of the compiled program: another value compiles nothing.
      record: where this comes from.
    """

    weights: stylization_network.Weights
    style: stylization_network.Style
    input_noise: float = 0.0
    record: Record = dataclasses.field(default_factory=Record)

    @property
    def params(self) -> stylization_network.Params:
        """`{"weights": ..., "style": ...}`."""
        return {"weights": self.weights, "style": self.style}

    def __call__(self, picture: Any) -> Any:
        """Stylize a picture, or several of one size.

        Compiled once for each height and width. All pictures of one size get the same input noise,
        so the result for a picture does not depend on the others.

        Args:
          picture: (H, W, 3) or (N, H, W, 3), a NumPy or JAX array, RGB; uint8, or floats in
            [0, 1]. Or a Pillow image of any mode: it is rotated as its EXIF data say, converted to
            sRGB, and put on white where it is transparent. 16 pixels or more on each side.

        Returns:
          The same kind: an array of that shape and dtype, or a Pillow image of mode RGB.

        Raises:
          TypeError: it is something else.
          ValueError: the array has another shape, values outside [0, 1], or is too small.
        """
        if isinstance(picture, Image.Image):
            array = decoding.picture_to_array(picture, "the picture")
            return Image.fromarray(images.as_uint8(np.asarray(self(array))))
        in_memory.check_array(picture, dimensions=(3, 4))
        batch = picture if picture.ndim == 4 else picture[None]
        drawn = [self._draw(images.as_float(image)) for image in batch]
        if isinstance(picture, jax.Array):
            result = jnp.stack(drawn) if picture.ndim == 4 else drawn[0]
        else:
            result = np.stack(drawn) if picture.ndim == 4 else np.asarray(drawn[0])
        if picture.dtype != np.uint8:
            return result.astype(picture.dtype)
        rounded = images.as_uint8(np.asarray(result))
        return jnp.asarray(rounded) if isinstance(picture, jax.Array) else rounded

    def _draw(self, image: Any) -> jax.Array:
        return _stylize(self.weights, self.style, image[None], np.float32(self.input_noise))[0]

    def save(self, path: str | Path, *, command: str = "") -> None:
        """Write a file that `loading.load` and `metastyle stylize` read.

        A style file (12.8 kB) if the weights are those that the record names; otherwise a file of
        all parameters (6.7 MB). Sizes are for the default width.

        Args:
          path: safetensors file to write, whole or not at all.
          command: the command line that made this, for the reader's information.

        Raises:
          UserError: the file cannot be written, or holds the weights that the style needs.
        """
        settings = {**self.record.settings, provenance.NOISE: self.input_noise}
        if not self.weights_are_named:
            params = jax.device_get(self.params)
            style_file.save_params(path, params, settings=settings, command=command)
            return
        weights_file = Path(self.record.weights_name).expanduser()
        if weights_file.is_file():
            overwriting.refuse_overwriting([path], [weights_file], "file name")
        style_file.save_style(
            path,
            jax.device_get(self.style),
            weights_digest=self.record.weights_digest,
            settings={**settings, "init": self.record.weights_name},
            command=command,
        )

    @property
    def weights_are_named(self) -> bool:
        """Whether the weights are those that the record names, so that a style file is enough."""
        record = self.record
        return bool(record.weights_name) and tree_digest(self.weights) == record.weights_digest


def from_initialization(init: initialization.Initialization) -> Stylizer:
    """The stylizer of an initialization, with the input noise of its training."""
    return Stylizer(
        init.params["weights"],
        init.params["style"],
        provenance.recorded_noise(init.settings),
        Record(init.name, init.settings, init.name, init.digest),
    )


@compilation.jit
def _stylize(
    weights: stylization_network.Weights,
    style: stylization_network.Style,
    image: jax.Array,
    input_noise: jax.Array,
) -> jax.Array:
    """(1, H, W, 3) float32 to the same; `input_noise` is () float32."""
    key = jax.random.key(0)
    noisy = jax.lax.cond(
        input_noise > 0,
        lambda image: add_noise(key, image, input_noise),
        lambda image: image,
        image,
    )
    return stylization_network.stylize(weights, style, noisy)
