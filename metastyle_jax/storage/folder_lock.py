"""One writer per folder: a lock that the operating system releases when its process ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

from metastyle_jax.errors import UserError
from metastyle_jax.storage.atomic import write_error
from metastyle_jax.storage.home_folder import exists, expanded

_LOG = logging.getLogger(__name__)

NAME = ".lock"  # of the file in the folder
_HELD = (errno.EAGAIN, errno.EACCES)  # errors of flock for a lock that is held elsewhere


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Lock `folder` for this process while the body runs; enter before opening files in it.

    The folder is created if needed, and removed if the body left it empty. The file `.lock` in it
    names the process. The lock is that of the operating system on this file, and it ends with the
    process, also after kill -9 or a power cut; a remaining file does not block. Where the file
    system has no locks, a note on stderr says so and the body runs.

    Args:
      folder: to lock; a second `locked` on it fails, also in this process.

    Raises:
      UserError: another process has locked the folder, or it cannot be written to.
    """
    folder = expanded(folder)
    created = not exists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _acquire(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder may have been deleted
            (folder / NAME).unlink()
        os.close(file)  # releases the lock, after nobody can open the file
        if created:
            with contextlib.suppress(OSError):  # the body wrote files, as it should
                folder.rmdir()


def _acquire(folder: Path) -> int:
    """The descriptor of the lock file, locked."""
    path = folder / NAME
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(file, folder) or _is_at(file, path):
                os.ftruncate(file, 0)
                os.pwrite(file, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # another process deleted the file meanwhile: try the new one


def _lock(file: int, folder: Path) -> bool:
    """Lock the file; False if the file system has no locks."""
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise _in_use(folder, os.pread(file, 1000, 0)) from None
        _LOG.warning(
            f"note: {folder} cannot be locked ({error.strerror}): see to it that no other run "
            "writes there"
        )
        return False
    return True


def _in_use(folder: Path, holder: bytes) -> UserError:
    pid, _, host = holder.decode(errors="replace").strip().partition(" ")
    # the file is empty for a moment after it was locked
    who = f"process {pid} on {host}" if pid else "another process"
    return UserError(
        f"{folder} is in use by {who}: wait until that run ends, end it, or choose another folder"
    )


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
