"""The one exception for mistakes a user can fix, and how a command reports it.

Everything that is wrong with a file, a flag or a setting is raised as `UserError` with one clear
sentence: which file or setting, what is wrong with it, and what to do. `exit_cleanly` turns it
into that sentence on stderr and exit code 2. A command that did a part of what it was asked for,
and could not do the rest, raises `PartialFailure`: exit code 1. Any other exception is a defect of
this project and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import NoReturn

EXIT_PARTIAL_FAILURE = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended


class UserError(Exception):
    """A mistake in the input: one sentence that says where, what and how to put it right."""

    exit_code = EXIT_USER_ERROR


class PartialFailure(UserError):
    """Some of several files could not be done; the others are. A sentence, and a line for each."""

    exit_code = EXIT_PARTIAL_FAILURE


def check_failures(failures: Sequence[str], done: int, verb: str) -> None:
    """Raise what a command that goes on after failures says at its end, if there were any.

    Args:
      failures: a sentence on each picture that failed; it begins with the picture's file.
      done: number of pictures that did not fail.
      verb: what was to be done with them: "stylized".

    Raises:
      PartialFailure: there are failures, and pictures that did not fail.
      UserError: there are failures alone; if they have one reason, it is that sentence.
    """
    if not failures:
        return
    count, different = len(failures), dict.fromkeys(failures)
    lines = "".join(f"\n  {failure}" for failure in different)
    if done:
        raise PartialFailure(f"{count} of {count + done} pictures could not be {verb}:{lines}")
    if len(different) == 1:
        raise UserError(failures[0])
    raise UserError(f"none of the {count} pictures could be {verb}:{lines}")


@contextlib.contextmanager
def exit_cleanly() -> Iterator[None]:
    """Run the body of a command; report `UserError` and Ctrl-C without a traceback.

    Raises:
      SystemExit: with code 2 after a `UserError`, an operating system error on the user's files
        (no space, no permission) or a JAX_PLATFORMS that jax cannot start on, 1 after a
        `PartialFailure`, 141 after whoever read the output went away (`| head`).
        After Ctrl-C the process ends here, with code 130.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names of files may hold what no encoding has; stderr shows it so already
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()  # rather here than in the interpreter's teardown
    except UserError as error:
        _say(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except (RuntimeError, AssertionError) as error:
        if (reason := _backend_problem(error)) is None:
            raise
        _say(f"error: {reason}")
        raise SystemExit(EXIT_USER_ERROR) from None
    except KeyboardInterrupt:
        _say("interrupted")
        _end_process(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # what is still buffered has nowhere to go, and the teardown flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_BROKEN_PIPE) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        _say(f"error: cannot write {error.filename}: {error.strerror}")
        raise SystemExit(EXIT_USER_ERROR) from None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _backend_problem(error: Exception) -> str | None:
    """The one sentence for a jax that found no device to run on; None for any other error.

    jax raises RuntimeError, or fails an assertion, in a module that does nothing but this; it is
    recognised by its name, as jax is not imported here.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if not frame.f_globals.get("__name__", "").endswith("xla_bridge"):
        return None
    wanted = os.environ.get("JAX_PLATFORMS", "")
    why = " ".join(str(error).split(" (set JAX_PLATFORMS")[0].split()).rstrip(".")
    return (
        f"jax cannot start {f'on JAX_PLATFORMS={wanted}' if wanted else 'on any device'}"
        f"{f' ({why})' if why else ', which has no device here'}: set JAX_PLATFORMS=cpu, or leave "
        "it unset for what is there, or install jax for the device"
    )


def _end_process(code: int) -> NoReturn:
    """End without the interpreter's teardown.

    Ctrl-C may arrive while XLA compiles or Orbax reads on threads of their own; the teardown pulls
    Python away under them, which ends in a segmentation fault instead of `code`. Whatever had to
    be closed has been closed by the `with` blocks that the exception came through.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
