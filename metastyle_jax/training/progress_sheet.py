"""The picture sheet of a training: contents and styles, drawn before and after the inner steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from metastyle_jax.metalearning import outer_loss
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.reporting.sheets import contact_sheet
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import configuration

STYLES = 4  # rows of a sheet


def drawer(
    config: ml_collections.ConfigDict, network: FeatureNetwork, batch: dict[str, np.ndarray]
) -> Callable[[stylization_network.Params], np.ndarray]:
    """params -> sheet (H, W, 3) in [0, 1] of content, style, output before and after inner steps.

    Args:
      config: of the training.
      network: the feature network.
      batch: see `pipeline.batches`; the first `STYLES` of its styles are drawn.
    """
    batch = {**batch, "styles": batch["styles"][:STYLES]}
    problem = configuration.make_problem(config)
    make_inner_optimizer = configuration.make_inner_optimizer(config)

    @compilation.jit
    def outputs(params: Any, batch: Any, network: FeatureNetwork):
        inner_optimizer = make_inner_optimizer(jnp.zeros(()), params.get("inner_rates"))
        return outer_loss.preview(problem, params, batch, network, inner_optimizer)

    titles = _titles(config)

    def draw(params: stylization_network.Params) -> np.ndarray:
        before, after = jax.device_get(outputs(params, batch, network))
        content = batch["query"][0]
        rows = [
            [content, style, *pair]
            for style, *pair in zip(batch["styles"], before, after, strict=True)
        ]
        return contact_sheet(rows, column_titles=titles, cell=config.data.image_size)

    return draw


def _titles(config: ml_collections.ConfigDict) -> tuple[str, str, str, str]:
    steps = config.inner.steps
    after = f"{steps} inner step{'s' if steps != 1 else ''}"
    if config.model.predictor:
        after = f"predicted, {after}"
    return ("content", "style", "0 steps", after)
