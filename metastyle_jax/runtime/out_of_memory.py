"""One sentence instead of a traceback when memory runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

from metastyle_jax.errors import UserError

# XLA's status, and the message of allocators that set another status
_SIGNS = ("RESOURCE_EXHAUSTED", "out of memory")


class OutOfMemory(UserError):
    """There was not enough memory; a smaller input may fit."""


@contextlib.contextmanager
def explained(sentence: str) -> Iterator[None]:
    """Turn an out-of-memory error in the body, on host or device, into `sentence`.

    The body must wait for its results, because JAX reports errors when results are read.

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
