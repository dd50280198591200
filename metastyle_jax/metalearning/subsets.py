"""Which parameters move: the style alone, all of them, or those whose names match a pattern."""

from __future__ import annotations

import fnmatch
import functools
from typing import Any

import jax
from flax import traverse_util

from metastyle_jax.networks import adjuster

SEPARATOR = "/"
SLIDERS = "sliders"  # the style and how the weights of layers move it


def split(params: dict[str, Any], subset: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what moves, what stays): nested dicts that hold some of the leaves of `params` each.

    Args:
      params: `{"weights": ..., "style": ...}`, and "adjuster" if there is one.
      subset: "norm", the style; "sliders", the style and the last layer of the adjuster; "all"; or
        shell patterns of names, separated by commas, such as "style/residual*,weights/conv4/*".

    Raises:
      ValueError: no name matches a pattern; or there is no adjuster.
    """
    if subset == SLIDERS:
        if "adjuster" not in params:
            raise ValueError("sliders need an adjuster: use norm")
        subset = f"style/*,adjuster/{adjuster.OUTPUT}/*"
    if subset == "norm":
        stays = {name: tree for name, tree in params.items() if name != "style"}
        return {"style": params["style"]}, stays
    if subset == "all":
        return dict(params), {}
    flat = traverse_util.flatten_dict(params, sep=SEPARATOR)
    patterns = [pattern.strip() for pattern in subset.split(",")]
    for pattern in patterns:
        if not fnmatch.filter(flat, pattern):
            raise ValueError(
                f"no parameter is called {pattern!r}: use norm, all, or patterns of names such as "
                + ", ".join(sorted(flat)[:: max(1, len(flat) // 3)])
            )
    moves = {
        name: leaf
        for name, leaf in flat.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
    stays = {name: leaf for name, leaf in flat.items() if name not in moves}
    unflatten = functools.partial(traverse_util.unflatten_dict, sep=SEPARATOR)
    return unflatten(moves), unflatten(stays)


def join(moves: dict[str, Any], stays: dict[str, Any]) -> dict[str, Any]:
    """The nested dict that `split` took apart."""
    merged = dict(stays)
    for name, value in moves.items():
        both = isinstance(value, dict) and isinstance(stays.get(name), dict)
        merged[name] = join(value, stays[name]) if both else value
    return merged


def freeze(parts: dict[str, Any], subset: str) -> dict[str, Any]:
    """`parts` whose leaves outside `subset`, see `split`, are constants of every derivative."""
    moves, stays = split(parts, subset)
    return join(moves, jax.lax.stop_gradient(stays))


def folds(subset: str) -> bool:
    """Whether only what each style has for itself moves, so that styles fold into one batch."""
    return subset in ("norm", SLIDERS) or all(
        pattern.strip().startswith(f"style{SEPARATOR}") for pattern in subset.split(",")
    )
