"""Advice for a training that goes wrong: the likely cause and what to change."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping

from metastyle_jax.settings.schema import Settings

# The loss of one step comes from a few pictures, and losses of styles differ by a factor of ten. A
# run has diverged when the smallest of DIVERGED_STEPS losses in a row is DIVERGED times the first
# loss. Losses that only scatter reach this in one of fifty runs of 100,000 steps (standard
# deviation of a factor 2.7). A rate that is too high soon gives a hundred times the first loss.
DIVERGED = 10.0
DIVERGED_STEPS = 10

INPUT_WAIT = "input_wait"  # metric: the part of the time that devices wait for pictures
INPUT_IS_SLOW = 0.1  # from here on the steps could be that much faster with faster input

_LOG = logging.getLogger(__name__)

Tell = Callable[[int, Mapping[str, float], str], None]


def not_finite(config: Settings) -> Callable[[str, int], str]:
    """A function: (name of the metric that is not finite, step) -> likely cause and advice."""

    def advise(name: str, step: int) -> str:
        before_inner = name in ("inner_loss_0", "inner_gradient_norm") or not config.inner.steps
        if before_inner and step > 1:
            likely = "the weights have most likely grown too large"
            change = f"lower {_rate(config, 'outer')} or set {_clip(config, 'outer')}"
            others = (_rate(config, "inner"), _style_weight(config))
        elif before_inner:
            likely = "the losses of the first weights most likely overflow"
            change = f"lower {_style_weight(config)}"
            others = ("the other weights of config.objective",)
        elif name.startswith(("inner_loss", "outer_")):
            likely = "the inner steps most likely go too far"
            change = f"lower {_rate(config, 'inner')} or set {_clip(config, 'inner')}"
            others = (_rate(config, "outer"), _style_weight(config))
        else:
            likely = "the gradient through the inner steps most likely overflows"
            change = f"lower {_rate(config, 'inner')} or {_style_weight(config)}"
            others = (_rate(config, "outer"),)
        return f"{likely}; {change}, or else {' or '.join(others)}, and go on with --resume"

    return advise


def bottleneck(share: Callable[[], float]) -> Callable[[bool], dict[str, float]]:
    """`share` as a metric; a line says once whether input or devices limit the rate.

    Not where a program was compiled, which takes most of that time.
    """
    said = False

    def measured(compiled: bool) -> dict[str, float]:
        nonlocal said
        value = share()
        if not compiled and not said:
            said = True
            _LOG.info(_limit(value))
        return {INPUT_WAIT: value}

    return measured


def _limit(share: float) -> str:
    waited = f"they waited for pictures {share:.0%} of the time"
    if share < INPUT_IS_SLOW:
        return f"the devices are the bottleneck: {waited}"
    return (
        f"the input is the bottleneck, not the devices: {waited}; raise config.data.threads, or "
        "keep the pictures on the devices with config.data.cache=device"
    )


def _rate(config: Settings, level: str) -> str:
    return f"config.{level}.learning_rate (now {getattr(config, level).learning_rate:g})"


def _clip(config: Settings, level: str) -> str:
    clip = getattr(config, level).clip
    return f"config.{level}.clip (now {clip:g}{'' if clip else ', none'})"


def _style_weight(config: Settings) -> str:
    return f"config.objective.style_weight (now {config.objective.style_weight:g})"


class Signs:
    """Watches finite metrics for signs that a training goes wrong; reports each sign once.

    Signs: all gradients are exactly 0; the outer loss stays far above the loss of the first step of
    this session (see `DIVERGED`).

    Args:
      config: of the training.
      tell: gets step, metrics and a sentence.
    """

    def __init__(self, config: Settings, tell: Tell) -> None:
        self._config, self._tell = config, tell
        self._vanished = self._diverged = False
        self._first: tuple[int, float] | None = None
        self._recent: deque[float] = deque(maxlen=DIVERGED_STEPS)

    def look(self, step: int, metrics: Mapping[str, float]) -> None:
        """Read the finite metrics of a step. Call it for all steps in order."""
        factor = self._style_factor(step)
        if not factor:
            return  # only the content counts so far: its gradient may be 0
        if not self._vanished and self._no_gradient(metrics):
            self._vanished = True
            self._tell(step, metrics, self._about_gradients())
        # the loss at the full style weight
        loss = metrics["outer_loss"] + metrics["outer_style"] * (1 / factor - 1)
        if self._first is None:
            # inner steps that go too far spoil even the first outer loss
            before = metrics.get("inner_loss_0", loss) if factor == 1 else loss
            self._first = (step, min(loss, before))
        self._recent.append(loss)
        full = len(self._recent) == DIVERGED_STEPS
        if not self._diverged and full and min(self._recent) > DIVERGED * self._first[1] > 0:
            self._diverged = True
            self._tell(step, metrics, self._about_loss())

    def _style_factor(self, step: int) -> float:
        """The factor of the style weight that `schedule` gave at step number `step`, from 1."""
        warmup = self._config.outer.style_warmup
        return min(1.0, (step - 1) / warmup) if warmup else 1.0

    def _no_gradient(self, metrics: Mapping[str, float]) -> bool:
        norms = [value for name, value in metrics.items() if name.startswith("gradient_norm_")]
        return bool(norms) and not any(norms)

    def _about_gradients(self) -> str:
        objective = self._config.objective
        if not objective.content_weight and not objective.style_weight:
            return (
                "all gradients are exactly 0, so that nothing is learned: "
                "config.objective.content_weight and style_weight are both 0"
            )
        return (
            "all gradients are exactly 0, so that nothing is learned: most likely all pixels are "
            "saturated; begin again in another --workdir with a lower "
            f"{_rate(self._config, 'outer')} or {_rate(self._config, 'inner')}"
        )

    def _about_loss(self) -> str:
        assert self._first is not None  # `look` has set it
        step, loss = self._first
        return (
            f"the outer loss of the last {DIVERGED_STEPS} steps is {min(self._recent):.3g} or more,"
            f" {DIVERGED:g} times the {loss:.3g} of step {step}: if it does not fall again, lower "
            f"{_rate(self._config, 'outer')} or {_rate(self._config, 'inner')}, or set "
            f"{_clip(self._config, 'outer')}"
        )
