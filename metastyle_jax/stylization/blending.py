"""One style of several, and several styles in one picture: arithmetic on styles of one network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from metastyle_jax.errors import UserError
from metastyle_jax.settings import provenance
from metastyle_jax.storage.digest import tree_digest
from metastyle_jax.stylization import tiling
from metastyle_jax.stylization.options import Options, draw, sized
from metastyle_jax.stylization.stylizer import DEFAULT, Stylizer


def blend(shares: Sequence[tuple[Stylizer, float]]) -> Stylizer:
    """A convex combination of styles: a style between them (Dumoulin et al. 2017, section 3.4).

    Args:
      shares: (stylizer, share) pairs of one network; shares are 0 or more, and divided by their
        sum.

    Returns:
      A stylizer with the mean style and the mean input noise.

    Raises:
      UserError: the styles belong to different weights, all shares are 0, or one is infinite.
    """
    stylizers = [stylizer for stylizer, _ in shares]
    check_one_network(stylizers)
    values = np.array([share for _, share in shares], np.float64)
    total = sum(float(share) for _, share in shares)
    if (values < 0).any() or not 0 < total < np.inf:  # nor is nan
        raise UserError(
            "the shares of a blend are 0 or more, one of them is above 0, and their sum is finite: "
            "give others"
        )
    values /= total

    def mean(*leaves: Any) -> np.ndarray:
        products = (share * np.asarray(leaf) for share, leaf in zip(values, leaves, strict=True))
        return sum(products).astype(np.float32)  # type: ignore[union-attr]

    first = stylizers[0]
    noise = float(values @ [stylizer.input_noise for stylizer in stylizers])
    made_of = {
        stylizer.record.name: float(share)
        for stylizer, share in zip(stylizers, values, strict=True)
    }
    record = dataclasses.replace(
        first.record,
        name=provenance.blend_name(made_of),
        settings={**first.record.settings, provenance.BLEND: made_of},
    )
    style = jax.tree.map(mean, *(dict(stylizer.style) for stylizer in stylizers))
    return Stylizer(first.weights, style, noise, record)


def check_one_network(stylizers: Sequence[Stylizer]) -> None:
    """Check that styles can be combined.

    Raises:
      UserError: they belong to different weights.
    """
    first, *others = stylizers
    digest = _digest(first)
    for other in others:
        if _digest(other) != digest:
            raise UserError(
                f"{first.record.name} and {other.record.name} have different networks: only styles "
                "that were adapted from one initialization, with norm parameters, can be combined"
            )


def _digest(stylizer: Stylizer) -> str:
    return stylizer.record.weights_digest or tree_digest(stylizer.weights)


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """Several styles in one picture, each where its mask is.

    Attributes:
      stylizers: K of one network.
      masks: (K, h, w) float32, 0 or more, of any size: they are brought to that of the picture.
        Where they are soft, styles mix. Where all are 0, the picture stays as it is.
    """

    stylizers: Sequence[Stylizer]
    masks: np.ndarray

    def __post_init__(self) -> None:
        """Check what fits together.

        Raises:
          ValueError: there are not as many masks as styles.
          UserError: the styles belong to different weights.
        """
        if self.masks.ndim != 3 or len(self.masks) != len(self.stylizers):
            raise ValueError(
                f"give masks of shape ({len(self.stylizers)}, h, w), one for each style, "
                f"not {self.masks.shape}"
            )
        check_one_network(self.stylizers)

    @property
    def recipe(self) -> str:
        """Says all that a drawing depends on, apart from the picture and the options."""
        return " ".join([*(each.recipe for each in self.stylizers), tree_digest(self.masks)])

    def draw(
        self,
        image: np.ndarray,
        options: Options = DEFAULT,
        progress: tiling.Progress = tiling.no_progress,
    ) -> np.ndarray:
        """Draw a picture, as `Stylizer.draw` does."""
        image = sized(options, image)
        stylizers = [each.strengthened(options.strength) for each in self.stylizers]
        covered = np.clip(self.masks.sum(axis=0), 0, 1)[..., None]

        def network(seen: np.ndarray) -> np.ndarray:
            masks = resized(np.moveaxis(self.masks, 0, -1), *seen.shape[:2])
            total = masks.sum(axis=-1, keepdims=True)
            shares = np.where(total > 0, masks / np.maximum(total, 1e-6), 1 / len(stylizers))
            return tiling.stylize(
                stylizers[0].weights,
                [each.style for each in stylizers],
                seen,
                noise=float(np.mean([each.input_noise for each in stylizers])),
                masks=np.moveaxis(shares, -1, 0),
                progress=progress,
            )

        drawn = draw(options, network, image)
        if covered.min() == 1:
            return drawn
        cover = resized(covered, *image.shape[:2])
        return _mixed(image, drawn, cover)


def _mixed(image: np.ndarray, drawn: np.ndarray, cover: np.ndarray) -> np.ndarray:
    mixed = image + cover * (drawn.astype(np.float32) - image)
    return np.rint(mixed).astype(np.uint8) if image.dtype == np.uint8 else mixed


def resized(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Masks (h, w, K) float32 brought to (height, width, K), linearly."""
    pictures = (
        Image.fromarray(np.asarray(masks[..., k], np.float32)) for k in range(masks.shape[-1])
    )
    size, linear = (width, height), Image.Resampling.BILINEAR
    return np.stack([np.asarray(picture.resize(size, linear)) for picture in pictures], axis=-1)
