"""Adaptation: a few steps of Adam turn the meta-trained network into a stylizer for one style."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from metastyle_jax.adaptation import alpha_draws
from metastyle_jax.errors import UserError
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import style_tasks, subsets
from metastyle_jax.metalearning.style_tasks import StyleTask, TaskData
from metastyle_jax.networks import stylization_network
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.runtime import compilation

_ADAM = optax.scale_by_adam()


@dataclasses.dataclass(frozen=True)
class AdaptationSettings:
    """What is minimized, by how many steps, of what.

    Attributes:
      steps: of Adam.
      learning_rate: of Adam; the last convolution moves at `stylization_network.LAST_LAYER_RATE`
        times this rate.
      parameters: what moves, see `subsets.split`.
      objective: what is minimized.
      noise: standard deviation of the input noise, new in each step, see `input_noise.add_noise`;
        0 for none.
      dtype: of the stylization network's convolutions; None for float32.
    """

    objective: perceptual.Objective
    steps: int = 100
    learning_rate: float = 1e-3
    parameters: str = "norm"
    noise: float = 0.0
    dtype: str | None = None


class Adaptation(NamedTuple):
    """What adaptation reached.

    Attributes:
      params: as it started from; what did not move is the same. With sliders, a mean over the last
        steps, see `alpha_draws.average`.
      history: one `{"loss", "content", "style"}` per step taken, measured on that step's contents
        before the step.
      seconds: of the steps, compilation not counted.
      compile_seconds: of a first step whose result was thrown away: compilation, mostly.
    """

    params: stylization_network.Params
    history: list[dict[str, float]]
    seconds: float
    compile_seconds: float


class Place(NamedTuple):
    """Where an adaptation is: all that it needs to go on.

    Attributes:
      step: steps taken.
      fast: the parameters that move.
      opt_state: of Adam.
      reached: what `Adaptation.params` is made of: `fast`, or with sliders a mean.
      seconds: of the steps so far.
    """

    step: int
    fast: Any
    opt_state: Any
    reached: Any
    seconds: float


OnStep = Callable[[int, stylization_network.Params, dict[str, float], float], None]


def beginning(params: stylization_network.Params, parameters: str) -> Place:
    """The place before the first step; `parameters` says what moves, see `subsets.split`."""
    fast, _ = subsets.split(params, parameters)
    return Place(0, fast, _ADAM.init(fast), fast, 0.0)


def batches_before(step: int, params: stylization_network.Params) -> int:
    """How many batches were used up by the first `step` steps."""
    return step // (alpha_draws.PAIR if "adjuster" in params else 1)


def adapt(
    params: stylization_network.Params,
    style_image: np.ndarray,
    contents: Iterator[np.ndarray],
    network: FeatureNetwork,
    settings: AdaptationSettings,
    *,
    on_step: OnStep = lambda step, params, metrics, seconds: None,
    stopping: Callable[[], bool] = lambda: False,
    begin: Place | None = None,
    keep: Callable[[Place], None] = lambda place: None,
) -> Adaptation:
    """Adapt `params` to one style image.

    Args:
      params: where to start. With an "adjuster", see `networks.adjuster`, the weights of the style
        layers are drawn, see `alpha_draws`.
      style_image: (H, W, 3) in [0, 1], of any size; its own resolution decides the scale of the
        textures.
      contents: batches (B, H, W, 3) in [0, 1] to train on, all of one shape.
      network: the feature network.
      settings: objective, steps, rate, input noise.
      on_step: called after each step with its number, the parameters it reached, its metrics and
        the seconds so far.
      stopping: asked after each step; True makes it the last one.
      begin: a place of an earlier run to go on from; `contents` begins with the batch that follows
        the first `batches_before`. The history is that of this run.
      keep: called after each step with its place.

    Raises:
      UserError: the loss is not finite.
    """
    targets = make_style_targets(style_image, network, objective=settings.objective)
    _, slow = subsets.split(params, settings.parameters)
    first, fast, opt_state, reached, before = begin or beginning(params, settings.parameters)
    take_step = functools.partial(
        adaptation_step,
        learning_rate=np.float32(settings.learning_rate),
        slow=slow,
        style_targets=targets,
        task=_task(settings.objective, network, settings.noise, settings.dtype),
    )
    has_sliders = "adjuster" in params
    repeats = alpha_draws.PAIR if has_sliders else 1
    batch = next(contents)
    start = time.perf_counter()
    # the result is thrown away: this compiles, unless an earlier adaptation has
    jax.block_until_ready(take_step(fast, opt_state, batch, np.int32(0)))
    compile_seconds = time.perf_counter() - start
    start = time.perf_counter() - before
    history = []
    # steps called from Python, not a scan: XLA:CPU has no fast convolutions inside loops
    for step in range(first + 1, settings.steps + 1):
        fast, opt_state, metrics = take_step(fast, opt_state, batch, np.int32(step))
        stop = stopping() or step == settings.steps
        if not stop and step % repeats == 0:
            batch = next(contents)  # decoded while the device works
        history.append(_checked(metrics, step, settings))
        reached = alpha_draws.average(reached, fast, step) if has_sliders else fast
        seconds = time.perf_counter() - start
        on_step(step, subsets.join(reached, slow), history[-1], seconds)
        keep(Place(step, fast, opt_state, reached, seconds))
        if stop:
            break
    seconds = time.perf_counter() - start
    return Adaptation(subsets.join(reached, slow), history, seconds, compile_seconds)


@compilation.jit
def make_style_targets(
    style_image: jax.Array, network: FeatureNetwork, *, objective: perceptual.Objective
) -> perceptual.Targets:
    """Targets of one style image (H, W, 3) in [0, 1], leaves (1, ...)."""
    return perceptual.style_targets(objective, network, style_image[None])


def balance(
    params: stylization_network.Params,
    style_image: np.ndarray,
    contents: np.ndarray,
    network: FeatureNetwork,
    objective: perceptual.Objective,
) -> float:
    """The style weight at which content and style pull on the outputs of `params` equally.

    Args:
      params: where an adaptation starts.
      style_image: (H, W, 3) in [0, 1].
      contents: (B, H, W, 3) in [0, 1], over which the mean is taken.
      network: the feature network.
      objective: its style weight does not matter.
    """
    unit = dataclasses.replace(objective, style_weight=1.0)
    targets = make_style_targets(style_image, network, objective=unit)
    return float(_balance(params, contents, targets, network, unit))


@compilation.jit
def _balance(
    params: stylization_network.Params,
    contents: jax.Array,
    style_targets: perceptual.Targets,
    network: FeatureNetwork,
    objective: perceptual.Objective,
) -> jax.Array:
    outputs = stylization_network.stylize(params["weights"], params["style"], contents)
    content_targets = perceptual.content_targets(objective, network, contents)
    targets = perceptual.fold_targets(content_targets, style_targets, (1, contents.shape[0]))
    key = jax.random.key(0)
    return perceptual.balance(objective, network, outputs, *targets, key).mean()


def _task(
    objective: perceptual.Objective,
    network: FeatureNetwork,
    noise: float,
    dtype: str | None = None,
) -> StyleTask:
    return StyleTask(objective, network, noise or None, dtype)


@compilation.jit
def adaptation_step(
    fast: Any,
    opt_state: Any,
    contents: jax.Array,
    step: jax.Array,
    *,
    learning_rate: jax.Array,
    slow: Any,
    style_targets: perceptual.Targets,
    task: StyleTask,
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """One step of Adam on (B, H, W, 3) contents: (fast, opt_state, metrics before the step).

    `step`, () int32, decides what the input noise and a random style loss draw.
    """
    data = _data(contents, style_targets, task, step)
    if "adjuster" in fast or "adjuster" in slow:
        alpha = alpha_draws.draw(step, len(contents), len(task.objective.style_layers))
        data = dataclasses.replace(data, alpha=alpha)
    gradient, metrics = jax.grad(style_tasks.inner_loss, has_aux=True)(fast, slow, data)
    updates, opt_state = _ADAM.update(gradient, opt_state, fast)
    updates = stylization_network.scale_last_layer(updates, stylization_network.LAST_LAYER_RATE)
    updates = alpha_draws.scale_last_kernel(updates)
    fast = jax.tree.map(lambda leaf, update: leaf - learning_rate * update, fast, updates)
    shown = {name: metrics[name][0] for name in ("loss", "content", "style")}
    return fast, opt_state, shown


def _data(
    contents: jax.Array,
    style_targets: perceptual.Targets,
    task: StyleTask,
    step: jax.Array | np.int32,
) -> TaskData:
    """What `style_tasks.stylization_loss` reads at a step of the adaptation."""
    key = jax.random.fold_in(jax.random.key(0), step)
    return style_tasks.content_data(task, contents, style_targets, key)


def _checked(
    metrics: dict[str, jax.Array], step: int, settings: AdaptationSettings
) -> dict[str, float]:
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if not np.isfinite(values["loss"]):
        weight = settings.objective.style_weight
        raise UserError(
            f"the loss is {values['loss']} at adaptation step {step}, with --learning-rate="
            f"{settings.learning_rate:g} and a style weight of {weight:g}: lower the rate, or the "
            "weight if it is far above that of the training"
        )
    return values


def evaluate_batch(
    params: stylization_network.Params,
    contents: jax.Array | np.ndarray,
    style_targets: perceptual.Targets,
    network: FeatureNetwork,
    *,
    objective: perceptual.Objective,
    noise: float = 0.0,
) -> dict[str, jax.Array]:
    """{"loss", "content", "style"}: means over (B, H, W, 3) contents, scalars."""
    return _evaluate(params, contents, style_targets, _task(objective, network, noise))


@compilation.jit
def _evaluate(
    params: stylization_network.Params,
    contents: jax.Array,
    style_targets: perceptual.Targets,
    task: StyleTask,
) -> dict[str, jax.Array]:
    data = _data(contents, style_targets, task, np.int32(0))
    _, parts = style_tasks.inner_loss(params, {}, data)
    return {name: part[0] for name, part in parts.items()}
