"""Small pictures that wait at the same time are drawn together."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from metastyle_jax.networks import stylization_network
from metastyle_jax.stylization import small_pictures, tiling
from metastyle_jax.stylization.small_pictures import SmallPicture


@dataclasses.dataclass(eq=False)
class _Waiting:
    """A picture that waits.

    Attributes:
      group: pictures of one group may be drawn together: the identity of their weights, and the
        side of their tile.
      picture: to draw.
      drawn: what was made of it, or the error; None while it waits.
    """

    group: tuple[int, int]
    picture: SmallPicture
    drawn: np.ndarray | Exception | None = None


class Gathering:
    """Draws for several threads; one of them at a time works for all that wait.

    Nobody waits for a batch to fill: while one is drawn, the next one gathers.

    Args:
      count: pictures that are drawn together at most.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._device = threading.Lock()  # held by who draws
        self._lock = threading.Lock()  # of the two below
        self._line: list[_Waiting] = []
        self.batches = 0

    @property
    def threads(self) -> int:
        """That should call `stylize`: a batch gathers while another is drawn."""
        return 2 * self.count

    def stylize(
        self,
        weights: stylization_network.Weights,
        styles: tiling.Styles,
        image: np.ndarray,
        *,
        noise: float = 0.0,
        progress: tiling.Progress = tiling.no_progress,
    ) -> np.ndarray:
        """Draw a picture, see `tiling.stylize`; together with others if it is small.

        Raises:
          ValueError: a side is below 16 pixels.
        """
        stylization_network.check_size(*image.shape[:2])
        side = small_pictures.side_for(image)
        if side is None or len(styles) > 1:
            with self._device:
                return tiling.stylize(weights, styles, image, noise=noise, progress=progress)
        own = _Waiting((id(weights), side), SmallPicture(styles[0], image, noise))
        with self._lock:
            self._line.append(own)
        with self._device:
            try:
                progress(0.0)
                if own.drawn is None:
                    self._draw(weights, own)
            finally:
                self._leave([own])  # who gives up does not wait any more
        if isinstance(own.drawn, Exception):
            raise own.drawn
        assert own.drawn is not None
        progress(1.0)
        return own.drawn

    def _draw(self, weights: stylization_network.Weights, own: _Waiting) -> None:
        """Draw a picture, and those of its group that came first."""
        with self._lock:
            others = [each for each in self._line if each.group == own.group and each is not own]
            batch = [own, *others[: self.count - 1]]
            self.batches += 1
        self._leave(batch)
        # alone, or as many as a program draws: more numbers would be more programs
        count = self.count if len(batch) > 1 else 1
        try:
            drawn = small_pictures.stylize(
                weights, [each.picture for each in batch], own.group[1], count
            )
        except Exception as error:
            for each in batch:
                each.drawn = error
        else:
            for each, picture in zip(batch, drawn, strict=True):
                each.drawn = picture

    def _leave(self, batch: Sequence[_Waiting]) -> None:
        with self._lock:
            self._line = [each for each in self._line if each not in batch]

    def compile(
        self, weights: stylization_network.Weights, style: stylization_network.Style
    ) -> None:
        """Compile the programs of small pictures before the first one comes."""
        for side in small_pictures.SIDES:
            picture = SmallPicture(style, np.zeros((side, side, 3), np.uint8))
            for count in {1, self.count}:
                small_pictures.stylize(weights, [picture], side, count)
