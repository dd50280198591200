"""A start of the stylization network that draws a blurred copy of the content.

A network that cannot draw the content yet learns from the style loss alone, and falls into lattices
and blobs.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

CONTRAST = 0.8  # of the copy: a standard deviation of 1 is this before the sigmoid


def with_copying(
    weights: dict[str, dict[str, jax.Array]], up1: str
) -> dict[str, dict[str, jax.Array]]:
    """Kernels through which the picture passes, as signals that begin at the three colors.

    A ReLU lets only one sign through, so that a signal takes two channels: the first ones hold all
    signals, as many after them their negatives. A convolution of stride 2 makes four signals of
    each, the pixels of every 2x2 block; upsampling draws their mean, interpolated. Everything else
    is left to be learned. Kernels of other channels keep their random entries.

    Args:
      weights: `{layer: {"kernel": HWIO, "bias": (O,)}}`, random; changed in place.
      up1: name of the first kernel after the middle.

    Returns:
      `weights`.
    """
    copied = {"conv1": _signed({(4, 4, c, c): 1.0 for c in range(3)}, 3, 3)}
    signals = 3
    for layer in ("conv2", "conv3"):
        # reflection padding of 1: the taps (1, 1) ... (2, 2) of a 3x3 kernel see the 2x2 block
        taps = {
            (1 + pixel // 2, 1 + pixel % 2, s, pixel * signals + s): 1.0
            for pixel in range(4)
            for s in range(signals)
        }
        copied[layer] = _signed(taps, signals, 4 * signals)
        signals *= 4
    hat = (0.25, 0.5, 0.25)
    for layer, inputs in ((up1, signals), ("up2", 3)):
        taps = {
            (row, column, s, s % 3): hat[row] * hat[column] * 3 / inputs
            for row in range(3)
            for column in range(3)
            for s in range(inputs)
        }
        copied[layer] = _signed(taps, inputs, 3)
    for layer, taps in copied.items():
        kernel = weights[layer]["kernel"]
        carried = np.zeros(kernel.shape, np.float32)
        for tap, value in taps.items():
            if tap[2] < kernel.shape[2]:  # the colors themselves have no negatives
                carried[tap] = value
        carries = np.arange(kernel.shape[3]) <= max(tap[3] for tap in taps)
        weights[layer]["kernel"] = jnp.where(
            carries[None, None, None], carried.astype(kernel.dtype), kernel
        )
    last = weights["conv4"]["kernel"]
    for c in range(3):
        last = last.at[4, 4, c, c].add(CONTRAST).at[4, 4, 3 + c, c].add(-CONTRAST)
    weights["conv4"]["kernel"] = last
    return weights


def _signed(
    taps: Mapping[tuple[int, int, int, int], float], inputs: int, outputs: int
) -> dict[tuple[int, int, int, int], float]:
    """Entries of a kernel HWIO between signals: from both channels of each to both of each."""
    signs = ((0, 0, 1.0), (1, 0, -1.0), (0, 1, -1.0), (1, 1, 1.0))
    return {
        (row, column, source + inputs * i, target + outputs * o): sign * value
        for (row, column, source, target), value in taps.items()
        for i, o, sign in signs
    }
