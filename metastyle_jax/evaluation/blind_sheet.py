"""Blind sheets: the same pairs by several methods in random order, for people to vote on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from metastyle_jax.data.images import write_png
from metastyle_jax.evaluation.evaluation_inputs import EvaluationInputs
from metastyle_jax.reporting.records import Row, write_csv
from metastyle_jax.reporting.sheets import contact_sheet

_LOG = logging.getLogger(__name__)

CELL = 256  # pixels
PAIRS_PER_SHEET = 10
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def write(
    inputs: EvaluationInputs, rows: Sequence[Row], picture_of: Callable[[Row], np.ndarray]
) -> None:
    """Write `blind_1.png` ... and the key `blind_key.csv` into the folder of the evaluation.

    Args:
      inputs: of the evaluation; the setting `blind` is the random seed.
      rows: one for each method and pair.
      picture_of: returns the picture of a row.
    """
    settings, out = inputs.settings, inputs.out
    pairs = draw(rows, seed=settings.blind, most=settings.blind_pairs)
    contents, styles = (
        dict(zip(pictures.names, pictures.images, strict=True))
        for pictures in (inputs.contents, inputs.styles)
    )
    letters = LETTERS[: max(map(len, pairs))]
    for begin in range(0, len(pairs), PAIRS_PER_SHEET):
        shown = pairs[begin : begin + PAIRS_PER_SHEET]
        sheet = [
            [
                contents[pair[0]["content image"]],
                styles[pair[0]["style image"]],
                *(picture_of(row) for row in pair),
            ]
            for pair in shown
        ]
        image = contact_sheet(
            sheet,
            column_titles=("content", "style", *letters),
            row_titles=[str(begin + i + 1) for i in range(len(shown))],
            cell=CELL,
        )
        write_png(out / f"blind_{begin // PAIRS_PER_SHEET + 1}.png", image)
    write_csv(out / "blind_key.csv", _key(pairs))
    _LOG.info(f"wrote {out / 'blind_1.png'} ...; which method is which: {out / 'blind_key.csv'}")


def draw(rows: Sequence[Row], *, seed: int, most: int) -> list[list[Row]]:
    """At most `most` pairs in random order, each with the rows of its methods in random order."""
    random = np.random.default_rng(seed)
    rows_of_pairs: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        rows_of_pairs.setdefault((row["style image"], row["content image"]), []).append(row)
    pairs = list(rows_of_pairs.values())
    chosen = [pairs[i] for i in random.permutation(len(pairs))[:most]]
    return [[pair[i] for i in random.permutation(len(pair))] for pair in chosen]


def _key(pairs: Sequence[Sequence[Row]]) -> list[Row]:
    return [
        {
            "pair": number,
            "style": row["style image"],
            "content": row["content image"],
            "letter": letter,
            "method": row["method"],
        }
        for number, pair in enumerate(pairs, start=1)
        for letter, row in zip(LETTERS, pair, strict=False)
    ]
