"""The one exception for mistakes a user can fix, and how a command reports it.

Everything that is wrong with a file, a flag or a setting is raised as `UserError` with one clear
sentence: which file or setting, what is wrong with it, and what to do. `exit_cleanly` prints it on
stderr and exits with code 2. A command that did only part of its work raises `PartialFailure`: exit
code 1. Any other exception is a defect of this project and keeps its traceback.
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
EXIT_BROKEN_PIPE = 141  # as shells report a program that SIGPIPE ended


class UserError(Exception):
    """A mistake in the input: one sentence that says where it is, what is wrong, and what to do."""

    exit_code = EXIT_USER_ERROR


class PartialFailure(UserError):
    """Some of several files failed; the others are done. One sentence, and one line per failure."""

    exit_code = EXIT_PARTIAL_FAILURE


class ProcessError(UserError):
    """An error of one of several processes, which ends at once: the others shall miss it soon."""


class ProcessDefect(ProcessError):
    """A defect of this project in one of several processes; its traceback has been printed."""

    exit_code = 1


def check_failures(failures: Sequence[str], done: int, verb: str, what: str = "pictures") -> None:
    """Raise the summary of failures at the end of a command that continued after them.

    Args:
      failures: one sentence per failed picture; it begins with the picture's file.
      done: number of pictures that did not fail.
      verb: past participle of the task, such as "stylized".
      what: the pictures are, if they are none.

    Raises:
      PartialFailure: some pictures failed and some did not.
      UserError: all pictures failed. If all have the same reason, the message is that sentence.
    """
    if not failures:
        return
    count, different = len(failures), dict.fromkeys(failures)
    lines = "".join(f"\n  {failure}" for failure in different)
    if done:
        raise PartialFailure(f"{count} of {count + done} {what} could not be {verb}:{lines}")
    if len(different) == 1:
        raise UserError(failures[0])
    raise UserError(f"none of the {count} {what} could be {verb}:{lines}")


@contextlib.contextmanager
def exit_cleanly() -> Iterator[None]:
    """Run the body of a command; report `UserError` and Ctrl-C without a traceback.

    Raises:
      SystemExit: with code 2 after a `UserError`, an operating system error on the user's files
        (no space, no permission) or a JAX_PLATFORMS that jax cannot start; 1 after a
        `PartialFailure`; 141 after the reader of the output closed it (`| head`).
        After Ctrl-C the process ends here, with code 130.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # file names may hold bytes without a character; stderr escapes them by default
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()  # an error must show here, not in the interpreter's teardown
    except UserError as error:
        _say(f"error: {error}")
        if isinstance(error, ProcessError):
            _end_process(error.exit_code)  # the teardown would wait for the others
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
        # the teardown flushes once more, so the buffered output must go somewhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_BROKEN_PIPE) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        file = f" {error.filename}" if error.filename else ""  # known where it was opened
        _say(f"error: cannot write{file}: {error.strerror}")
        raise SystemExit(EXIT_USER_ERROR) from None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _backend_problem(error: Exception) -> str | None:
    """One sentence if jax could not start a device; None for any other error.

    jax raises RuntimeError, or fails an assertion, in its module `xla_bridge`. The module is
    recognized by name, because jax is not imported here.
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

    Ctrl-C may arrive while threads of XLA or Orbax are running. The teardown would remove Python
    under them and end in a segmentation fault. The `with` blocks that the exception passed have
    closed all files.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
