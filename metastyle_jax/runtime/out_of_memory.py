"""What is too large for the memory is one sentence, not a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

from metastyle_jax.errors import UserError

# XLA's status, and what its allocators say where the status is another one
_SIGNS = ("RESOURCE_EXHAUSTED", "out of memory")


class OutOfMemory(UserError):
    """Something was too large for the memory that there is; something smaller may fit."""


@contextlib.contextmanager
def explained(sentence: str) -> Iterator[None]:
    """Turn an error of too little memory in the body, of the host or of a device, into `sentence`.

    The body must wait for its results: what JAX computes later fails later.

    Raises:
      OutOfMemory: there was not enough memory.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(sign.lower() in text for sign in _SIGNS):
            raise OutOfMemory(sentence) from error
        raise
