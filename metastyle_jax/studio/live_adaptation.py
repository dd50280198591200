"""An adaptation in a thread of its own, seen step by step."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from metastyle_jax.adaptation import service
from metastyle_jax.data.pipeline import ImageSource
from metastyle_jax.stylization.stylizer import Stylizer


@dataclasses.dataclass(frozen=True, eq=False)
class Reached:
    """What an adaptation has reached.

    Attributes:
      step: steps done, from 1.
      stylizer: in the style so far.
      losses: "loss" before each step.
      seconds: of the steps, without compilation.
    """

    step: int
    stylizer: Stylizer
    losses: tuple[float, ...]
    seconds: float


_END = object()


def run(
    start: service.Start,
    style: np.ndarray,
    contents: ImageSource,
    options: service.Options,
    stopping: Callable[[], bool],
) -> Iterator[Reached]:
    """Adapt, and give what was reached after a step; steps that nobody waited for are left out.

    Args:
      start, style, contents, options: see `service.adapt`.
      stopping: asked after every step; True ends it, as does the end of this iterator.

    Raises:
      UserError: see `service.adapt`.
    """
    steps: queue.Queue[Any] = queue.Queue()
    unwatched = threading.Event()
    losses: list[float] = []

    def after_step(
        step: int, stylizer: Stylizer, metrics: Mapping[str, float], seconds: float
    ) -> None:
        losses.append(float(metrics["loss"]))
        steps.put(Reached(step, stylizer, tuple(losses), seconds))

    def work() -> None:
        try:
            service.adapt(
                start,
                style,
                contents,
                options,
                on_step=after_step,
                stopping=lambda: unwatched.is_set() or stopping(),
            )
            steps.put(_END)
        except Exception as error:  # it is raised where somebody looks
            steps.put(error)

    thread = threading.Thread(target=work, name="adaptation", daemon=True)
    thread.start()
    try:
        while (reached := _newest(steps)) is not _END:
            if isinstance(reached, Exception):
                raise reached
            yield reached
    finally:
        unwatched.set()
        thread.join()


def _newest(steps: queue.Queue[Any]) -> Any:
    """The newest step; the end only if nothing is before it."""
    newest = steps.get()
    while isinstance(newest, Reached):
        try:
            following = steps.get_nowait()
        except queue.Empty:
            break
        if not isinstance(following, Reached):
            steps.put(following)
            break
        newest = following
    return newest
