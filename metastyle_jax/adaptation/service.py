"""Adaptation to one style, prepared and run in one way for commands, studies and benchmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metastyle_jax.adaptation import starting_style, style_adaptation
from metastyle_jax.adaptation.style_adaptation import Place
from metastyle_jax.data import pipeline
from metastyle_jax.errors import UserError
from metastyle_jax.features import registry
from metastyle_jax.losses import perceptual
from metastyle_jax.metalearning import subsets
from metastyle_jax.networks.feature_network import FeatureNetwork
from metastyle_jax.settings import provenance
from metastyle_jax.stylization.sliders import Sliders
from metastyle_jax.stylization.stylizer import Stylizer

# of Adam. All parameters at 1e-3, the rate to train from scratch, end up worse than at 3e-4:
# docs/results/training.md
DEFAULT_STEPS = 100
# of a predicted start on features that are not those of the training but stand in for them: more
# steps lower the loss and draw dots, docs/results/quality.md
FEWER_STEPS = 25
DEFAULT_RATES = {"norm": 1e-2, "sliders": 1e-2, "all": 3e-4}


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """Where an adaptation starts, and what it minimizes.

    Attributes:
      stylizer: the network and the style to start from. Its input noise is used in each step.
      objective: the loss.
      network: the feature network of that loss.
    """

    stylizer: Stylizer
    objective: perceptual.Objective
    network: FeatureNetwork


@dataclasses.dataclass(frozen=True)
class Options:
    """Steps and training crops.

    Attributes:
      steps: of Adam; None for `default_steps`.
      learning_rate: of Adam; None for `DEFAULT_RATES`.
      parameters: what is adapted: "norm", the style alone; "sliders", the style and how the weights
        of the style layers move it; "all"; or patterns, see `subsets.split`. Only "sliders" keeps
        the sliders of the start.
      size: side of the training crops in pixels.
      batch: contents per step.
      seed: of the order of the contents and of the crops.
      min_scale, max_scale: a crop is cut after the short side of its content has been resized to a
        random length between these, in units of `size`.
      threads: that decode; 0 decodes between the steps.
    """

    steps: int | None = None
    learning_rate: float | None = None
    parameters: str = "norm"
    size: int = 256
    batch: int = 1
    seed: int = 0
    min_scale: float = 1.0
    max_scale: float = 1.3
    threads: int = 1

    @property
    def rate(self) -> float:
        """The learning rate; that of "all" for patterns without one."""
        if self.learning_rate is not None:
            return self.learning_rate
        return DEFAULT_RATES.get(self.parameters, DEFAULT_RATES["all"])


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
    """The result of an adaptation.

    Attributes:
      stylizer: in the new style. Its record has the settings of the adaptation.
      history: one `{"loss", "content", "style"}` per step, measured on that step's contents before
        the step. Fewer than asked for if it was stopped.
      seconds: of the steps, without compilation.
      compile_seconds: of compilation.
    """

    stylizer: Stylizer
    history: list[dict[str, float]]
    seconds: float
    compile_seconds: float


OnStep = Callable[[int, Stylizer, Mapping[str, float], float], None]


def start_from(
    stylizer: Stylizer,
    *,
    features: str = "",
    objective: perceptual.Objective | None = None,
) -> Start:
    """A start with the feature network and the objective that a stylizer was trained with.

    See `provenance.recorded_objective` for one that used moving averages.

    Without that network on this machine it takes "distilled", and logs a warning.

    Args:
      stylizer: its record says what it was trained with.
      features: another feature network, see `features.registry.load`.
      objective: another objective.

    Raises:
      UserError: the feature network cannot be loaded.
    """
    settings = stylizer.record.settings
    if objective is None:
        objective = provenance.recorded_objective(settings)
    network = registry.load_recorded(settings, objective.layers, instead=features)
    return Start(stylizer, objective, network)


def default_steps(start: Start, parameters: str) -> int:
    """Steps of Adam that suit a start: fewer where others stand in for the features it needs."""
    settings = start.stylizer.record.settings
    trained, _ = provenance.recorded_features(settings)
    stands_in = start.network.spec == registry.STAND_IN != trained
    predicted = settings.get(provenance.START) == starting_style.PREDICTED
    return FEWER_STEPS if stands_in and predicted and parameters == "norm" else DEFAULT_STEPS


def adapt(
    start: Start,
    style_image: np.ndarray,
    contents: pipeline.ImageSource,
    options: Options,
    *,
    on_step: OnStep = lambda step, stylizer, metrics, seconds: None,
    stopping: Callable[[], bool] = lambda: False,
    begin: Place | None = None,
    keep: Callable[[Place], None] = lambda place: None,
) -> Adapted:
    """Adapt a stylizer to one style image.

    Args:
      start: where to start, and the loss.
      style_image: (H, W, 3) in [0, 1]. Its resolution decides the scale of the textures.
      contents: pictures to train on, of any size; random crops are taken of them.
      options: steps and crops.
      on_step: called after each step with its number (from 1), the stylizer it reached, its losses
        and the seconds so far.
      stopping: asked after each step; True makes it the last one.
      begin: where an earlier run with the same arguments was; the history is that of this run.
      keep: called after each step with its place.

    Raises:
      UserError: the loss is not finite, no content can be decoded, or there are no sliders.
    """
    settings = style_adaptation.AdaptationSettings(
        start.objective,
        steps=options.steps or default_steps(start, options.parameters),
        learning_rate=options.rate,
        parameters=options.parameters,
        noise=start.stylizer.input_noise,
    )

    def after_step(step: int, params: Any, metrics: dict[str, float], seconds: float) -> None:
        on_step(step, _reached(start, options, step, params), metrics, seconds)

    params = start.stylizer.params
    if options.parameters == subsets.SLIDERS:
        if start.stylizer.sliders is None:
            raise UserError(
                f"{start.stylizer.record.name} has no sliders to adapt: start from a network that "
                "was trained with config.model.adjuster"
            )
        params |= start.stylizer.sliders.params
    taken = begin.step if begin else 0
    crops = pipeline.crops(
        contents,
        pipeline.Crop(options.size, options.min_scale, options.max_scale),
        count=options.batch,
        order=pipeline.Order(options.seed, style_adaptation.batches_before(taken, params)),
        reading=pipeline.Reading(options.threads),
    )
    result = style_adaptation.adapt(
        jax.tree.map(jnp.asarray, params),
        style_image,
        crops,
        start.network,
        settings,
        on_step=after_step,
        stopping=stopping,
        begin=begin,
        keep=keep,
    )
    return Adapted(
        _reached(start, options, taken + len(result.history), result.params),
        result.history,
        result.seconds,
        result.compile_seconds,
    )


def _reached(start: Start, options: Options, steps: int, params: Any) -> Stylizer:
    before = start.stylizer
    settings = {
        "init": before.record.weights_name or before.record.name,
        "adaptation.steps": steps,
        "adaptation.learning_rate": options.rate,
        provenance.NOISE: before.input_noise,
        **provenance.record_features(start.network),
        **provenance.record_objective(start.objective),
    }
    if provenance.START in before.record.settings:
        settings[provenance.START] = before.record.settings[provenance.START]
    record = dataclasses.replace(before.record, name="", settings=settings)
    reached = Stylizer(params["weights"], params["style"], before.input_noise, record)
    if "adjuster" not in params or before.sliders is None:
        return reached
    moved = Sliders(params["adjuster"], params["style"], before.sliders.layers)
    return dataclasses.replace(reached, style=moved.highest, sliders=moved)


def losses_over(
    start: Start, style_image: np.ndarray, contents: np.ndarray, *, chunk: int = 8
) -> Callable[[Stylizer], dict[str, float]]:
    """A function that measures stylizers under the objective of a start.

    Args:
      start: its objective and feature network are used.
      style_image: (H, W, 3) in [0, 1].
      contents: (N, H, W, 3) in [0, 1], over which means are taken. Their input noise depends on
        their place in a chunk, but is the same for all stylizers.
      chunk: contents at a time.

    Returns:
      Stylizer -> mean `{"loss", "content", "style"}`.
    """
    targets = style_adaptation.make_style_targets(
        style_image, start.network, objective=start.objective
    )
    chunks = np.split(contents, range(chunk, len(contents), chunk))

    def measure(stylizer: Stylizer) -> dict[str, float]:
        parts = [
            style_adaptation.evaluate_batch(
                stylizer.params,
                part,
                targets,
                start.network,
                objective=start.objective,
                noise=stylizer.input_noise,
            )
            for part in chunks
        ]
        sizes = [len(part) for part in chunks]
        return {
            name: float(np.average([float(part[name]) for part in parts], weights=sizes))
            for name in parts[0]
        }

    return measure
