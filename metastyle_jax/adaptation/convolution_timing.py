"""Which forms of convolutions make a step of adaptation fastest on this machine's CPU.

A whole step, not one convolution: alone, each form also waits for fresh memory, which a step
shares, and another one wins (docs/results/notebook.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from metastyle_jax.adaptation import service, starting_style, style_adaptation
from metastyle_jax.metalearning.style_tasks import StyleTask
from metastyle_jax.networks import convolution_forms
from metastyle_jax.networks.convolution_forms import Forms
from metastyle_jax.runtime import in_turns
from metastyle_jax.storage import initialization

USUAL = Forms()
ALTERNATIVES = (
    USUAL._replace(winograd_channels=32),
    USUAL._replace(winograd_channels=128),
    USUAL._replace(winograd_channels=0),
    USUAL._replace(first_in_blocks=not USUAL.first_in_blocks),
    USUAL._replace(last_in_blocks=not USUAL.last_in_blocks),
    USUAL._replace(upsampling_in_phases=not USUAL.upsampling_in_phases),
)
# what is not faster by this much is not another: a machine is no steadier
WORTH = 1.03
TURNS = 7

Program = Callable[[], object]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def measure(size: int = 256) -> Iterator[tuple[Forms, float]]:
    """Time a step in which all parameters move, with the usual forms and with each alternative.

    What wins alone is tried together too.

    Args:
      size: side of the one content, pixels.

    Yields:
      (forms, how many times as fast as the usual ones), as they are measured.
    """
    before = convolution_forms.used()
    arguments = _arguments(size)
    try:
        usual = _compiled(USUAL, arguments)
        ratios = {}
        for forms in ALTERNATIVES:
            ratios[forms] = _ratio(usual, _compiled(forms, arguments))
            yield forms, ratios[forms]
        together = join(ratios)
        if together not in (USUAL, *ratios):
            yield together, _ratio(usual, _compiled(together, arguments))
    finally:
        convolution_forms.use(before)


def join(ratios: Mapping[Forms, float]) -> Forms:
    """Of each choice the fastest alternative that is `WORTH` it, all in one."""
    joined = USUAL
    for forms in sorted(ratios, key=ratios.__getitem__):
        if ratios[forms] >= WORTH:
            usual = USUAL._asdict().items()
            joined = joined._replace(**dict(forms._asdict().items() - usual))
    return joined


def fastest(ratios: Mapping[Forms, float]) -> Forms:
    """What suits a machine with these results of `measure`; the usual forms if none is better."""
    best = max(ratios, key=ratios.__getitem__)
    return best if ratios[best] >= WORTH else USUAL


def _ratio(usual: Program, other: Program) -> float:
    seconds = in_turns.medians([usual, other], TURNS)
    return seconds[0] / seconds[1]


def _compiled(forms: Forms, arguments: Arguments) -> Program:
    convolution_forms.use(forms)
    given, named = arguments
    program = style_adaptation.adaptation_step.lower(*given, **named).compile()
    return lambda: jax.block_until_ready(program(*given, **named))


def _arguments(size: int) -> Arguments:
    """Those of `style_adaptation.adaptation_step`, with noise for pictures."""
    style, content = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    initial = initialization.load(initialization.EMBEDDED)
    stylizer = starting_style.stylizer_at_start(initial, style, starting_style.NEUTRAL)
    start = service.start_from(stylizer)
    place = style_adaptation.beginning(stylizer.params, "all")
    targets = style_adaptation.make_style_targets(style, start.network, objective=start.objective)
    named = {
        "learning_rate": np.float32(0),
        "slow": {},  # all parameters move
        "style_targets": targets,
        "task": StyleTask(start.objective, start.network),
    }
    return (place.fast, place.opt_state, content[None], np.int32(0)), named
