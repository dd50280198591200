"""Whether a checkpoint fits the run that wants to go on from it, and which array is which there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metastyle_jax.errors import UserError
from metastyle_jax.storage.digest import leaves_by_path

_ADVICE = "use the same settings or another --workdir"


def check_configuration(folder: Path, record: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose configuration has other values for the settings `wanted`.

    Raises:
      UserError: naming the first three settings with both values.
    """
    found = record["configuration"]
    differences = [
        f"{name} is {found.get(name, 'not set')!r} there and {value!r} now"
        for name, value in wanted.items()
        if name not in found or found[name] != value
    ]
    if differences:
        raise UserError(
            f"checkpoint {folder} is of another configuration: {', '.join(differences[:3])}; "
            f"{_ADVICE}"
        )


def match_arrays(folder: Path, record: Mapping[str, Any], template: Any) -> dict[str, str]:
    """{name of an array in `template`: its name in the checkpoint}.

    The names are the same but for those of the optimizer's state: clipping and the like, which have
    no state of their own, shift the places of its parts.

    Raises:
      UserError: an array is missing, is one too many, or has another shape or dtype.
    """
    problem = f"checkpoint {folder} is of another configuration"
    leaves = leaves_by_path(template)
    wanted, found = _by_role(leaves), _by_role(record["arrays"])
    if odd := sorted(set(wanted) ^ set(found)):
        where = "only in the checkpoint" if odd[0] in found else "not in the checkpoint"
        name = found.get(odd[0]) or wanted[odd[0]]
        raise UserError(f"{problem}: {name} is {where}; {_ADVICE}")
    for role, name in wanted.items():
        entry, leaf = record["arrays"][found[role]], leaves[name]
        there = f"{entry['dtype']} {tuple(entry['shape'])}"
        now = f"{np.dtype(leaf.dtype).name} {tuple(leaf.shape)}"
        if there != now:
            raise UserError(f"{problem}: {name} is {there} there and {now} now; {_ADVICE}")
    return {name: found[role] for role, name in wanted.items()}


def _by_role(names: Iterable[str]) -> dict[str, str]:
    """{name without the place of a part of the optimizer's state: name}, in the order given."""
    roles: dict[str, str] = {}
    for name in names:
        first, *rest = name.split("/")
        if first == "opt_state":
            rest = itertools.dropwhile(str.isdecimal, rest)
        role = "/".join((first, *rest))
        while role in roles:  # the counts of Adam and of its schedule: told apart by their order
            role += "'"
        roles[role] = name
    return roles
