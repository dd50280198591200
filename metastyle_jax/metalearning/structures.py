"""What travels together in meta-training: a batch, and all that the outer optimizer moves."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct

from metastyle_jax.networks import stylization_network

# arrays; in trees of the same form also shapes, partition specs or axes
Leaf = Any


@dataclasses.dataclass(frozen=True)
class Axes:
    """Names of the mapped axes of several devices; None for what is whole on each of them.

    Attributes:
      styles: over which the styles of a step are split.
      contents: over which its contents are split.
    """

    styles: str | None = None
    contents: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(name for name in (self.styles, self.contents) if name is not None)


@flax.struct.dataclass
class Batch:
    """Images of one outer step, float32 in [0, 1].

    Attributes:
      styles: (S, H, W, 3), one per task; on several devices each has its share.
      support: (B, H, W, 3), contents of the inner loss, the same for all styles; these too may be
        split among devices.
      query: (B, H, W, 3), contents of the outer loss.
    """

    styles: Leaf
    support: Leaf
    query: Leaf


@flax.struct.dataclass
class MetaParameters:
    """What the outer optimizer moves.

    Attributes:
      weights: convolutions of the stylization network, shared by all styles.
      style: where every inner loop starts, leaves (C,).
      inner_rates: learned inner learning rates, see `bilevel.learned_rates`; None for none.
      predictor: predicts where each style starts, see `networks.predictor`; None for none.
      adjuster: moves styles by the weights of the style layers, see `networks.adjuster`; None for
        none.
    """

    weights: Any
    style: Any
    inner_rates: Any = None
    predictor: Any = None
    adjuster: Any = None

    @property
    def adjustable(self) -> dict[str, Any]:
        """`network`, with "adjuster" if there is one."""
        return self.network if self.adjuster is None else self.network | {"adjuster": self.adjuster}

    @property
    def network(self) -> stylization_network.Params:
        """`{"weights": ..., "style": ...}`, the parameters of the stylization network."""
        return {"weights": self.weights, "style": self.style}

    def parts(self) -> dict[str, Any]:
        """The parts that are there, by name: `{"weights": ..., "style": ..., ...}`."""
        named = {
            **self.network,
            "inner_rates": self.inner_rates,
            "predictor": self.predictor,
            "adjuster": self.adjuster,
        }
        return {name: part for name, part in named.items() if part is not None}
