"""Names and SHA-256 digests of arrays, pytrees of arrays and files.

A digest identifies exact values: a style file holds the digest of the weights it belongs to, and a
checkpoint is intact if its arrays have the digests that were saved. Equal values of equal dtype and
shape have equal digests on every machine, both as jax and as numpy arrays.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

_BLOCK_BYTES = 1 << 20


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Leaves of any pytree by name: `{"params/weights/conv1/kernel": leaf, ...}`.

    A name joins dict keys, field names and list indices with "/". None and empty containers have
    no leaves.

    Raises:
      ValueError: a key contains "/" or is empty, so that the name would be ambiguous.
    """
    leaves = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        parts = [jax.tree_util.keystr((key,), simple=True) for key in path]
        for part in parts:
            if not part or "/" in part:
                raise ValueError(f"the key {part!r} cannot be used in the name of an array")
        leaves["/".join(parts)] = leaf
    return leaves


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from `{"a/b/c": leaf}`: the inverse of `leaves_by_path` for nested dicts.

    Raises:
      ValueError: a name is also the folder of another name (`a` and `a/b`).
    """
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise ValueError(f"{name} lies below another array")
        if last in node:
            raise ValueError(f"{name} is both an array and a folder of arrays")
        node[last] = leaf
    return tree


def array_digest(array: Any) -> str:
    """SHA-256 (64 hex digits) over the dtype, the shape and the values of one array.

    Args:
      array: jax or numpy array or scalar of any shape and numeric dtype, bfloat16 included; typed
        PRNG keys only as their `jax.random.key_data`. Values are read in C order, little-endian.

    Raises:
      TypeError: the array holds Python objects or typed PRNG keys.
    """
    values = np.asarray(array)
    if values.dtype.hasobject:
        raise TypeError(f"arrays of dtype {values.dtype} have no digest")
    order = values.dtype.byteorder
    if order == ">" or (order == "=" and sys.byteorder == "big"):
        values = values.byteswap()
    header = json.dumps([values.dtype.name, list(values.shape)])
    state = hashlib.sha256(f"{header}\n".encode())
    state.update(values.tobytes(order="C"))
    return state.hexdigest()


def leaf_digests(tree: Any) -> dict[str, str]:
    """`{name: array_digest(leaf)}` with the names of `leaves_by_path`, sorted by name.

    Raises:
      TypeError: as `array_digest`.
      ValueError: as `leaves_by_path`.
    """
    return {name: array_digest(leaf) for name, leaf in sorted(leaves_by_path(tree).items())}


def tree_digest(tree: Any) -> str:
    """SHA-256 (64 hex digits) over the names and digests of all leaves of a pytree.

    Independent of the insertion order of dicts and of the container types: a NamedTuple and a dict
    with the same names and values have the same digest.

    Raises:
      TypeError: as `array_digest`.
      ValueError: as `leaves_by_path`.
    """
    return combined_digest(leaf_digests(tree))


def combined_digest(digests: Mapping[str, str]) -> str:
    """`tree_digest` of a tree from the digests of its leaves by name."""
    return hashlib.sha256(json.dumps(dict(sorted(digests.items()))).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 (64 hex digits) of the bytes of a file, as `sha256sum` prints it.

    Raises:
      OSError: the file cannot be read.
    """
    state = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()
