"""Whether a checkpoint fits the run that resumes from it, and which of its arrays is which."""

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
    """Refuse a checkpoint if its configuration differs in one of the settings `wanted`.

    Raises:
      UserError: names the first three such settings with both values.
    """
    recorded = record["configuration"]
    differences = [
        f"{name} is {recorded.get(name, 'not set')!r} there and {value!r} now"
        for name, value in wanted.items()
        if name not in recorded or recorded[name] != value
    ]
    if differences:
        raise UserError(
            f"checkpoint {folder} is of another configuration: {', '.join(differences[:3])}; "
            f"{_ADVICE}"
        )


def match_arrays(folder: Path, record: Mapping[str, Any], template: Any) -> dict[str, str]:
    """{name of an array in `template`: its name in the checkpoint}.

    Only names in the optimizer's state may differ: transformations without state, such as clipping,
    shift the positions of its parts.

    Raises:
      UserError: an array is missing, is not expected, or has another shape or dtype.
    """
    problem = f"checkpoint {folder} is of another configuration"
    leaves = leaves_by_path(template)
    wanted, present = _names_by_role(leaves), _names_by_role(record["arrays"])
    if odd := sorted(set(wanted) ^ set(present)):
        where = "only in the checkpoint" if odd[0] in present else "not in the checkpoint"
        name = present.get(odd[0]) or wanted[odd[0]]
        raise UserError(f"{problem}: {name} is {where}; {_ADVICE}")
    for role, name in wanted.items():
        entry, leaf = record["arrays"][present[role]], leaves[name]
        there = f"{entry['dtype']} {tuple(entry['shape'])}"
        now = f"{np.dtype(leaf.dtype).name} {tuple(leaf.shape)}"
        if there != now:
            raise UserError(f"{problem}: {name} is {there} there and {now} now; {_ADVICE}")
    return {name: present[role] for role, name in wanted.items()}


def _names_by_role(names: Iterable[str]) -> dict[str, str]:
    """{name without positions in the optimizer's state: name}, in the given order."""
    roles: dict[str, str] = {}
    for name in names:
        first, *rest = name.split("/")
        if first == "opt_state":
            rest = itertools.dropwhile(str.isdecimal, rest)
        role = "/".join((first, *rest))
        while (
            role in roles
        ):  # the step counts of Adam and of its schedule differ by their order only
            role += "'"
        roles[role] = name
    return roles
