"""Frames of a film stylized one after the other, without flicker."""

from __future__ import annotations

from typing import Any

import numpy as np

from metastyle_jax.networks.stylization_network import DOWNSAMPLING
from metastyle_jax.stylization import tiling
from metastyle_jax.stylization.options import Options, draw, sized
from metastyle_jax.stylization.stylizer import Stylizer
from metastyle_jax.video import camera_motion

KEEP = 0.8  # share of the earlier frames in the moments of the norms
# names of the moments in the state; a stroke size above 1 runs the network twice for a frame
PASSES = ("", "again/")


class FrameStylizer:
    """Draws frames in order.

    A network without memory flickers for three reasons: its norms follow every change of the whole
    picture; its input noise stays on the screen while the scene moves; and it sees the picture in
    a grid of 4 pixels, so that strokes change when the scene moves by 1, 2 or 3. With `smooth` the
    moments of the norms are averaged over time, and noise and grid move with the camera. A cut
    begins anew.

    Args:
      stylizer: draws them.
      options: see `options.Options`.
      smooth: False draws every frame alone.
    """

    def __init__(self, stylizer: Stylizer, options: Options, *, smooth: bool) -> None:
        self._stylizer = stylizer.strengthened(options.strength)
        self._options, self._smooth = options, smooth
        self._height = 0
        self._begin()

    def _begin(self) -> None:
        # what the second pass sees is no photograph: its moments are apart
        self._memories = {name: tiling.Memory(KEEP) for name in PASSES}
        self._offset = np.zeros(2)
        self._last: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Draw the next frame, (H, W, 3) uint8."""
        frame = sized(self._options, frame)
        self._height = len(frame)
        if self._smooth:
            self._follow(frame)
        passes = iter(self._memories.values())
        return draw(self._options, lambda seen: self._network(seen, next(passes)), frame)

    def _follow(self, frame: np.ndarray) -> None:
        gray = camera_motion.gray_middle(frame)
        if self._last is not None:
            moved = camera_motion.motion(self._last, gray)
            if moved is None:
                self._begin()
            else:
                self._offset += moved
        self._last = gray

    def _network(self, seen: np.ndarray, memory: tiling.Memory) -> np.ndarray:
        scale = self._height / seen.shape[0]  # with a stroke size, a picture is seen smaller
        row, column = (int(each) for each in np.rint(self._offset / scale))
        top, left = -row % DOWNSAMPLING, -column % DOWNSAMPLING
        drawn = tiling.stylize(
            self._stylizer.weights,
            [self._stylizer.style],
            np.pad(seen, ((top, 0), (left, 0), (0, 0)), mode="reflect"),
            noise=self._stylizer.input_noise,
            noise_offset=(row + top, column + left),
            memory=memory if self._smooth else None,
        )
        return drawn[top:, left:]

    @property
    def state(self) -> dict[str, np.ndarray]:
        """All that the next frame depends on, for `restore`."""
        arrays = {"offset": self._offset}
        if self._last is not None:
            arrays["last"] = self._last
        for part, memory in self._memories.items():
            for name, moments in memory.moments.items():
                for kind, value in zip(("mean", "variance"), moments, strict=True):
                    arrays[f"{kind}/{part}{name}"] = value
        return arrays

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another one with this `state` was."""
        self._begin()
        self._offset, self._last = np.array(state["offset"]), state.get("last")
        for key, mean in state.items():
            kind, _, name = key.partition("/")
            if kind == "mean":
                part = next(part for part in reversed(PASSES) if name.startswith(part))
                memory = self._memories[part]
                memory.moments[name.removeprefix(part)] = (mean, state[f"variance/{name}"])
