"""A feature network as one value: which one it is, how it pools, and its weights.

A pytree: the weights are its leaves, the rest is static. So it travels as one argument through
`jax.jit`, `lax.scan` and `shard_map`, and a program always pools as its network's record says.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax

from metastyle_jax.networks import vgg


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("weights",),
    meta_fields=("spec", "architecture", "pooling", "dtype"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A VGG of which the first layers are there.

    Attributes:
      spec: what it was loaded by, "compact" or "vgg16:FILE"; for records and messages.
      architecture: a key of `vgg.ARCHITECTURES`.
      pooling: "max" or "average".
      weights: see `vgg.features`; as arrays, or as shapes where nothing is computed.
      dtype: of the convolutions ("bfloat16"); None for that of the images.
    """

    spec: str
    architecture: str
    pooling: vgg.Pooling
    weights: vgg.FeatureWeights
    dtype: str | None = None

    def extract(self, images: jax.Array, layers: Iterable[str]) -> dict[str, jax.Array]:
        """Features of (N, H, W, 3) images in [0, 1]: `{layer: (N, h, w, C)}`, see `vgg.features`.

        Raises:
          ValueError: an unknown layer, or images too small for the deepest one.
        """
        return vgg.features(
            self.weights,
            images,
            layers,
            architecture=self.architecture,
            pooling=self.pooling,
            dtype=self.dtype,
        )


def shapes(
    architecture: str, layers: Iterable[str], *, pooling: vgg.Pooling, dtype: str | None = None
) -> FeatureNetwork:
    """A network whose weights are float32 shapes: enough to compile with.

    Raises:
      ValueError: unknown architecture or layer, or no layer at all.
    """
    weights: Any = vgg.weight_shapes(architecture, layers)
    return FeatureNetwork(architecture, architecture, pooling, weights, dtype)
