"""Several processes that train together: how they meet, who this one is, and how they part.

On TPU pods, under Slurm, Open MPI and on GKE, JAX knows how many processes there are. Elsewhere
each is told by flags.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import traceback
from collections.abc import Iterator
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from metastyle_jax.errors import ProcessDefect, ProcessError, UserError

_HEARTBEAT = 30  # seconds after which a process that is not heard of counts as gone
_MEETING = 120  # seconds to wait for the others
# what JAX says when a process ended in the middle of a step, or does not answer
_LOST = re.compile(r"gloo|nccl|coordination service|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED", re.I)

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Launch:
    """What the flags say of this process; nothing where JAX knows.

    Attributes:
      coordinator: HOST:PORT of process 0, which every process can reach.
      processes: how many there are.
      process_id: number of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None


@contextlib.contextmanager
def joined(launch: Launch) -> Iterator[None]:
    """Meet the other processes, if there are any, before JAX starts its devices.

    Errors in the body begin with the name of the process, and end it at once: the others then miss
    it in their next step and end too.

    Raises:
      UserError: the flags are not complete or not possible, or not all processes came.
      ProcessError: for a `UserError` or `OSError` of the body; or another process ended while it
        ran.
      ProcessDefect: for any other exception, whose traceback is printed.
    """
    _check(launch)
    try:
        _meet(launch)
    except (RuntimeError, ValueError) as error:
        if launch == Launch():
            raise
        raise UserError(
            f"process {launch.process_id} cannot meet the others at {launch.coordinator} "
            f"({_first_line(error)}): start all {launch.processes} within {_MEETING} seconds, with "
            "the same --coordinator, which all of them must reach"
        ) from error
    if not several():
        yield
        return
    try:
        yield
        jax.distributed.shutdown()
    except (UserError, OSError) as error:
        raise ProcessError(f"{name()}: {error}") from error
    except Exception as error:
        if isinstance(error, RuntimeError | ValueError) and _LOST.search(str(error)):
            raise ProcessError(
                f"{name()}: another process ended or cannot be reached ({_first_line(error)}): its "
                "output says why; then start all of them again with --resume"
            ) from error
        traceback.print_exc()  # raised, it would wait for the others in the teardown
        raise ProcessDefect(f"{name()} failed: {type(error).__name__}, see above") from error


def several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def is_main() -> bool:
    """Whether this is process 0, the one that writes."""
    return jax.process_index() == 0


def name() -> str:
    """Who this is, for messages."""
    return f"process {jax.process_index()} of {jax.process_count()} on {socket.gethostname()}"


def same_everywhere(tree: Tree) -> Tree:
    """The arrays of process 0, on every process; every process must call it."""
    return multihost_utils.broadcast_one_to_all(tree) if several() else tree


def wait(what: str) -> None:
    """Wait until every process calls this; `what` names the place in the program."""
    if several():
        multihost_utils.sync_global_devices(what)


def _check(launch: Launch) -> None:
    given = {
        "--coordinator": launch.coordinator,
        "--processes": launch.processes,
        "--process-id": launch.process_id,
    }
    missing = [flag for flag, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise UserError(
            f"{' and '.join(missing)} missing: --coordinator=HOST:PORT, --processes and "
            "--process-id belong together"
        )
    if missing:
        return
    if not re.fullmatch(r".+:\d+", launch.coordinator or ""):
        raise UserError(f"--coordinator={launch.coordinator} is not HOST:PORT: name process 0")
    if not 0 <= (launch.process_id or 0) < (launch.processes or 0):
        raise UserError(
            f"--process-id={launch.process_id} is not one of --processes={launch.processes}: "
            "they count from 0"
        )


def _meet(launch: Launch) -> None:
    try:
        jax.distributed.initialize(
            coordinator_address=launch.coordinator,
            num_processes=launch.processes,
            process_id=launch.process_id,
            initialization_timeout=_MEETING,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        # no flags, and no launcher that JAX knows, or devices that have been started: this process
        # is the only one
        alone = "should be defined" in str(error) or "before any JAX calls" in str(error)
        if launch != Launch() or not alone:
            raise


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
