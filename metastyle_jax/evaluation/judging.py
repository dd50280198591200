"""Measures of stylized pictures: losses under a judge's features, LPIPS, SSIM, lattice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.adaptation import style_adaptation
from metastyle_jax.evaluation import lattice, lpips, ssim
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import compilation
from metastyle_jax.settings import provenance

CHUNK = 4  # pictures measured at once
ABSENT = float("nan")
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu3_3"


class Judge(NamedTuple):
    """What pictures are measured with.

    Attributes:
      objective: losses and their weights. Relative losses can be compared between styles.
      network: feature network of the losses.
      lpips: weights of LPIPS, see `evaluation.lpips`; None for no LPIPS.
    """

    objective: perceptual.Objective
    network: FeatureNetwork
    lpips: lpips.Weights | None = None


def relative(spec: str, style_weight: float) -> Judge:
    """A judge with relative losses: style at `STYLE_LAYERS`, as far as the features reach.

    Args:
      spec: name of the feature network, see `features.registry.load`.
      style_weight: the content weight is 1.

    Raises:
      UserError: the network cannot be loaded.
    """
    objective = perceptual.Objective(
        content_layers=(CONTENT_LAYER,),
        style_layers=registry.usable_layers(spec, STYLE_LAYERS),
        style_weight=style_weight,
        normalize=True,
    )
    return Judge(objective, registry.load(spec, objective.layers))


def of_training(settings: Mapping[str, Any], features: str = "") -> Judge:
    """A judge with the objective and the features of a training.

    Args:
      settings: of the training, by dotted name.
      features: another feature network; empty for that of the training.

    Raises:
      UserError: the network cannot be loaded.
    """
    objective = provenance.recorded_objective(settings)
    network = registry.load_recorded(settings, objective.layers, instead=features)
    return Judge(objective, network)


def measure(
    judge: Judge, outputs: np.ndarray, contents: np.ndarray, style: np.ndarray
) -> dict[str, np.ndarray]:
    """Measures of each picture.

    Args:
      judge: see `Judge`.
      outputs, contents: (N, H, W, 3) in [0, 1].
      style: (h, w, 3) in [0, 1].

    Returns:
      (N,) for each measure: "loss", "content" and "style" with their weights; "style LAYER" for
      each layer, without all weights; "lpips" and "ssim" between outputs and contents; "lattice" of
      the outputs. NaN for what was not measured: LPIPS without weights or of too small pictures,
      and "lattice" of too small pictures.
    """
    targets = style_adaptation.make_style_targets(style, judge.network, objective=judge.objective)
    with_lpips = judge.lpips is not None and min(outputs.shape[1:3]) >= lpips.SMALLEST
    rows: list[Mapping[str, np.ndarray]] = []
    for begin in range(0, len(outputs), CHUNK):
        ours, wanted = outputs[begin : begin + CHUNK], contents[begin : begin + CHUNK]
        row = dict(_losses(ours, wanted, targets, judge.network, objective=judge.objective))
        row["lattice"] = lattice.lattice(ours)
        absent = np.full(len(ours), ABSENT)
        row["lpips"] = lpips.distance(judge.lpips, ours, wanted) if with_lpips else absent
        rows.append(row)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def units(judge: Judge) -> dict[str, str]:
    """What records note beside their settings: in which units `measure` finds "style LAYER".

    Where layers have weights, these were in it once; such records are not gone on with.
    """
    return {"layer errors": "without weights"} if judge.objective.style_layer_weights else {}


@compilation.jit
def _losses(
    outputs: jax.Array,
    contents: jax.Array,
    style_targets: perceptual.Targets,
    network: FeatureNetwork,
    *,
    objective: perceptual.Objective,
) -> dict[str, Any]:
    """Each (N,)."""
    styles = jax.tree.map(lambda x: jnp.repeat(x, len(outputs), axis=0), style_targets)
    seen = network.extract(outputs, objective.layers)
    content_targets = perceptual.content_targets(objective, network, contents)
    content = perceptual.content_error(objective, seen, content_targets)
    errors = perceptual.style_errors(objective, seen, styles, jax.random.key(0))
    style = perceptual.weighted_style(objective, errors, styles)
    return {
        "loss": content + style,
        "content": content,
        "style": style,
        **{f"style {layer}": error for layer, error in errors.items()},
        "ssim": ssim.ssim(outputs, contents),
    }
