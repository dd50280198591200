"""A stylizer: a network with one style, the noise it expects on its inputs, and its record."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from metastyle_jax.data import in_memory
from metastyle_jax.errors import UserError
from metastyle_jax.networks import stylization_network
from metastyle_jax.settings import provenance
from metastyle_jax.storage import home_folder, initialization, overwriting, style_file
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization import one_piece, pillow_images, sliders, tiling
from metastyle_jax.stylization.options import Colors, Options, draw, sized
from metastyle_jax.stylization.sliders import Sliders

DEFAULT = Options()


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
      sliders: other styles of the same network, by weights of the style layers, see `at`; None
        where the network was not trained for that.
    """

    weights: stylization_network.Weights
    style: stylization_network.Style
    input_noise: float = 0.0
    record: Record = dataclasses.field(default_factory=Record)
    sliders: Sliders | None = None

    @property
    def params(self) -> stylization_network.Params:
        """`{"weights": ..., "style": ...}`."""
        return {"weights": self.weights, "style": self.style}

    @property
    def recipe(self) -> str:
        """Says all that a drawing depends on, apart from the picture and the options."""
        return f"{tree_digest(self.params)} {self.input_noise!r}"

    def __call__(
        self,
        picture: Any,
        *,
        strength: float = 1.0,
        colors: Colors = "style",
        stroke_size: float = 1.0,
        size: int | None = None,
        alpha: Mapping[str, float] | None = None,
    ) -> Any:
        """Stylize a picture, or several of one size.

        A NumPy array (H, W, 3) or a Pillow image of any size is drawn by the same programs, in
        tiles (`tiling`). A batch or a JAX array is drawn in one piece, by a program that is
        compiled once for each height and width. Both draw the same up to rounding. The result for a
        picture does not depend on the others.

        Args:
          picture: (H, W, 3) or (N, H, W, 3), a NumPy or JAX array, RGB; uint8, or floats in
            [0, 1]. Or a Pillow image of any mode: it is rotated as its EXIF data say and converted
            to sRGB. 16 pixels or more on each side.
          strength, colors, stroke_size, size: see `options.Options`.
          alpha: weights of the style layers, see `at`. Other weights compile nothing.

        Returns:
          The same kind: an array of that shape (unless `size` is given) and dtype; or a Pillow
          image of mode RGB, or RGBA with the transparency of the picture if it has one.

        Raises:
          TypeError: it is something else.
          ValueError: the array has another shape, values outside [0, 1], or is too small; or an
            option is out of its range.
          UserError: the size or stroke size does not suit the picture, or alpha the stylizer.
        """
        if alpha is not None:
            return self.at(alpha)(
                picture, strength=strength, colors=colors, stroke_size=stroke_size, size=size
            )
        return self.apply(picture, Options(strength, colors, stroke_size, size))

    def apply(self, picture: Any, options: Options) -> Any:
        """`__call__`, with its options as one value."""
        if isinstance(picture, Image.Image):
            return pillow_images.draw(functools.partial(self.draw, options=options), picture)
        in_memory.check_array(picture, dimensions=(3, 4))
        if options == DEFAULT and (isinstance(picture, jax.Array) or picture.ndim == 4):
            return one_piece.draw(self.params, picture, self.input_noise)
        batch = np.asarray(picture).reshape(-1, *picture.shape[-3:])
        batch = batch if picture.dtype == np.uint8 else batch.astype(np.float32)
        drawn = np.stack([self.draw(each, options) for each in batch]).astype(picture.dtype)
        drawn = drawn if picture.ndim == 4 else drawn[0]
        return jnp.asarray(drawn) if isinstance(picture, jax.Array) else drawn

    def draw(
        self,
        image: np.ndarray,
        options: Options = DEFAULT,
        progress: tiling.Progress = tiling.no_progress,
        stylize: tiling.Stylize = tiling.stylize,
    ) -> np.ndarray:
        """Draw a picture, in tiles by default, see `__call__`.

        Args:
          image: (H, W, 3), uint8 or float32 in [0, 1].
          options: how.
          progress: called with the share of the work that is done, 0 to 1.
          stylize: how the network is applied.

        Raises:
          ValueError: a side is below 16 pixels.
          UserError: the size or stroke size does not suit the picture.
        """
        stylizer = self.strengthened(options.strength)
        network = functools.partial(
            stylize,
            stylizer.weights,
            [stylizer.style],
            noise=self.input_noise,
            progress=progress,
        )
        return draw(options, network, sized(options, image))

    def at(self, alpha: Mapping[str, float]) -> Stylizer:
        """The stylizer at given weights of the style layers: plain, with one style.

        Args:
          alpha: weights in [0, 1] by layer, `{"relu2_2": 0.3}`; 1 for layers that it does not name.

        Raises:
          UserError: there are no such weights to choose, or none of that layer, or a weight is
            outside [0, 1].
        """
        if self.sliders is None:
            raise UserError(
                f"{self.record.name or 'this stylizer'} has one style and no weights of layers to "
                "choose: leave alpha out, or adapt it with --adjustable"
            )
        weights = self.sliders.weights(alpha, self.record.name)
        settings = {**self.record.settings, sliders.SETTING: weights}
        return dataclasses.replace(
            self,
            style=self.sliders.style_at(weights),
            record=dataclasses.replace(self.record, settings=settings),
            sliders=None,
        )

    def strengthened(self, strength: float) -> Stylizer:
        """The style moved on from the neutral one: neutral + strength * (style - neutral).

        Up to a strength of 1 it is left as it is: `options.draw` mixes pixels there.

        Raises:
          UserError: no neutral style is known, see `neutral_style`.
        """
        if strength <= 1:
            return self
        factor = np.float32(strength)
        style = jax.tree.map(
            lambda ours, start: np.asarray(start) + factor * (np.asarray(ours) - np.asarray(start)),
            dict(self.style),
            dict(self.neutral_style()),
        )
        return dataclasses.replace(self, style=style)

    def neutral_style(self) -> stylization_network.Style:
        """The style that the weights had before they were adapted.

        Raises:
          UserError: none is known, because the weights have no name or the style has sliders.
        """
        if self._moves_by_weights:
            raise UserError(
                f"{self.record.name or 'this stylizer'} is made stronger by the weights of its "
                "layers, and has no neutral style: give a strength of at most 1"
            )
        if not self.record.weights_name:
            raise UserError(
                f"{self.record.name or 'this stylizer'} has weights that no initialization has, "
                "hence no neutral style: give a strength of at most 1"
            )
        return initialization.load(self.record.weights_name).params["style"]

    @property
    def has_neutral_style(self) -> bool:
        """Whether `neutral_style` returns one, so that strengths above 1 can be drawn."""
        return bool(self.record.weights_name) and not self._moves_by_weights

    @property
    def _moves_by_weights(self) -> bool:
        return self.sliders is not None or sliders.SETTING in self.record.settings

    def save(self, path: str | Path, *, command: str = "") -> None:
        """Write a file that `loading.load` and `metastyle stylize` read.

        A style file (16 kB, more with sliders) if the weights are those that the record names;
        otherwise a file of all parameters (6.7 MB). Sizes are for the default width.

        Args:
          path: safetensors file to write, whole or not at all.
          command: the command line that made this, for the reader's information.

        Raises:
          UserError: the file cannot be written, or holds the weights that the style needs.
        """
        settings = {**self.record.settings, provenance.NOISE: self.input_noise}
        moves = {} if self.sliders is None else {"adjuster": self.sliders.adjuster}
        style = self.style if self.sliders is None else self.sliders.style
        style, moves = jax.device_get((style, moves))
        if not self.weights_are_named:
            params = {"weights": jax.device_get(self.weights), "style": style, **moves}
            style_file.save_params(path, params, settings=settings, command=command)
            return
        weights_file = home_folder.expanded(self.record.weights_name)
        if home_folder.is_file(weights_file):
            overwriting.refuse_overwriting([path], [weights_file], "file name")
        style_file.save_style(
            path,
            style,
            weights_digest=self.record.weights_digest,
            settings={**settings, "init": self.record.weights_name},
            command=command,
            **moves,
        )

    @property
    def weights_are_named(self) -> bool:
        """Whether the weights are those that the record names, so that a style file is enough."""
        record = self.record
        return bool(record.weights_name) and tree_digest(self.weights) == record.weights_digest


def from_initialization(init: initialization.Initialization, style: Any = None) -> Stylizer:
    """The stylizer of an initialization, with the input noise of its training.

    If it has sliders, they all stand at 1. `style`, leaves (C,), takes the place of its own.
    """
    start = init.params["style"] if style is None else style
    moved = sliders.recorded(init.adjuster, start, init.settings, init.name)
    return Stylizer(
        init.params["weights"],
        start if moved is None else moved.highest,
        provenance.recorded_noise(init.settings),
        Record(init.name, init.settings, init.name, init.digest),
        moved,
    )
