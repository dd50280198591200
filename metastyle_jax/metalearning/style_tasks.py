"""Styles as tasks: what is minimized for several styles on a few contents.

S styles and B contents fold into one batch of S * B samples with one style per sample, so the usual
norm-only inner loop runs ordinary convolutions.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from metastyle_jax.losses import moving_averages, perceptual
from metastyle_jax.metalearning import subsets
from metastyle_jax.metalearning.structures import Batch
from metastyle_jax.networks import adjuster, input_noise, style_noise, stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork


@flax.struct.dataclass
class StyleTask:
    """What a stylization network is asked to do. A pytree.

    Loss weights, the noise and the feature network are data: other values run the same program.

    Attributes:
      objective: of the inner and of the outer loss.
      network: the feature network.
      noise: standard deviation of the input noise, see `input_noise.add_noise`; None for none.
      dtype, rewrite: of the stylization network, see `stylization_network.stylize`; static.
      predictor_network: what the predictor of styles sees them with; None for `network`.
      style_noise: standard deviation of the noise on the parameters of the styles, see
        `networks.style_noise`; None for none.
    """

    objective: perceptual.Objective
    network: FeatureNetwork
    noise: jax.Array | float | None = None
    dtype: str | None = flax.struct.field(pytree_node=False, default=None)
    rewrite: bool = flax.struct.field(pytree_node=False, default=True)
    predictor_network: FeatureNetwork | None = None
    style_noise: jax.Array | float | None = None

    @property
    def random(self) -> bool:
        """Whether the loss draws random numbers, and so needs a key."""
        return self.objective.style_loss.random or self.noise is not None


@flax.struct.dataclass
class TaskData:
    """What `stylization_loss` reads beside parameters. A pytree.

    Attributes:
      task: what is asked for.
      contents: (B, H, W, 3), what the network draws, with input noise.
      content_targets: of the same contents without noise, leaves (B, ...).
      style_targets: leaves (S, ...).
      key: for a style loss that is random; None otherwise.
      alpha: (S, B, L) weights of the style layers, for each style and content; None for 1.
      factors: of the layers' losses, see `moving_averages.factors`; None for 1.
      style_keys: (S, B) keys of the noise on the parameters of the style of each sample; None for
        no such noise.
    """

    task: StyleTask
    contents: jax.Array
    content_targets: perceptual.Targets
    style_targets: perceptual.Targets
    key: jax.Array | None = None
    alpha: jax.Array | None = None
    factors: moving_averages.Averages | None = None
    style_keys: jax.Array | None = None


# no style layer has this number, by which a random style loss draws: see `perceptual`
_INPUT_NOISE = 1 << 16


def content_data(
    task: StyleTask,
    contents: jax.Array,
    style_targets: perceptual.Targets,
    key: jax.Array | None = None,
    first: jax.Array | int = 0,
) -> TaskData:
    """Data of the loss on (B, H, W, 3) contents in [0, 1]; targets are constants.

    `first` is the number of the first content, where others are on other devices.

    Raises:
      ValueError: the task has input noise and there is no key.
    """
    targets = perceptual.content_targets(task.objective, task.network, contents)
    noisy = contents
    if task.noise is not None:
        if key is None:
            raise ValueError("input noise needs a key, see `schedule.draws_key`")
        of_noise = jax.random.fold_in(key, _INPUT_NOISE)
        noisy = input_noise.add_noise(of_noise, contents, task.noise, first)
    return TaskData(task, noisy, jax.lax.stop_gradient(targets), style_targets, key)


def support_and_query(
    task: StyleTask,
    batch: Batch,
    style_factor: jax.Array | float = 1.0,
    key: jax.Array | None = None,
    first: jax.Array | int = 0,
) -> tuple[TaskData, TaskData]:
    """Data of the inner and of the outer loss.

    Args:
      task: what is asked for.
      batch: styles, support and query contents.
      style_factor: multiplies the style weight.
      key: see `schedule.Scheduled`; support and query draw different numbers.
      first: number of the first content, where others are on other devices.
    """
    styles = perceptual.style_targets(task.objective, task.network, batch.styles)
    styles = {
        layer: {**target, "scale": target["scale"] * style_factor}
        for layer, target in styles.items()
    }
    styles = jax.lax.stop_gradient(styles)
    keys = (None, None) if key is None else jax.random.split(key)
    return (
        content_data(task, batch.support, styles, keys[0], first),
        content_data(task, batch.query, styles, keys[1], first),
    )


def stylization_loss(
    weights: Any, style: Any, data: TaskData, lambda_params: adjuster.Params | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sum over styles of the mean loss over contents; each style's gradient is thus its own.

    Args:
      weights: of the stylization network.
      style: leaves (S, C).
      data: of S styles and B contents.
      lambda_params: moves the styles by `data.alpha`, see `networks.adjuster`; its last kernel may
        be (S, ...), one for each style. None for no move.

    Returns:
      (scalar, {"loss", "content", "style"} each (S,), the mean over contents); with `data.alpha` or
      `data.factors` also the errors of the layers, see `perceptual.perceptual_loss`.
    """
    task = data.task
    s, b = jax.tree.leaves(style)[0].shape[0], data.contents.shape[0]
    alpha = None if data.alpha is None else data.alpha.reshape(s * b, -1)
    rows = stylization_network.repeat_style(style, b)
    if lambda_params is not None:
        if alpha is None:
            raise ValueError("an adjuster needs weights of the style layers: give alpha")
        rows = adjuster.adjust(adjuster.repeat(lambda_params, b), alpha, rows)
    if task.style_noise is not None and data.style_keys is not None:
        rows = style_noise.add_to_samples(data.style_keys, rows, task.style_noise)
    outputs = stylization_network.stylize(
        weights,
        rows,
        perceptual.tile_contents(data.contents, s),
        dtype=task.dtype,
        rewrite=task.rewrite,
    )
    targets = perceptual.fold_targets(data.content_targets, data.style_targets, (s, b))
    total, parts = perceptual.perceptual_loss(
        task.objective,
        task.network,
        outputs,
        *targets,
        data.key,
        moving_averages.emphasis(task.objective, data.factors, alpha),
    )
    parts = {"loss": total, **parts}
    parts = {name: part.reshape(s, b).mean(axis=1) for name, part in parts.items()}
    return parts["loss"].sum(), parts


def inner_loss(fast: Any, slow: Any, data: TaskData) -> tuple[jax.Array, dict[str, jax.Array]]:
    """What the inner loop minimizes: `stylization_loss` of parameters that `subsets.split` parted.

    Leaves of the style are (C,), shared by all styles of `data`, or (S, C).
    """
    return loss_of(joined(fast, slow, data), data)


def loss_of(params: dict[str, Any], data: TaskData) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`stylization_loss` of `{"weights", "style"}`, and "adjuster" if there is one."""
    return stylization_loss(params["weights"], params["style"], data, params.get("adjuster"))


def joined(fast: Any, slow: Any, data: TaskData) -> dict[str, Any]:
    """The parameters, with a row of the style for each of the S styles of `data`."""
    count = jax.tree.leaves(data.style_targets)[0].shape[0]
    params = subsets.join(fast, slow)
    rows = jax.tree.map(
        lambda x: x if x.ndim > 1 else jnp.broadcast_to(x, (count, *x.shape)), params["style"]
    )
    return {**params, "style": rows}
