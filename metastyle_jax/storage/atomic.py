"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from metastyle_jax.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the file size limit or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EISDIR: "choose a name that is not a folder",
    errno.ENOTDIR: "choose a path whose folders are not files",
    errno.EEXIST: "choose a path whose folders are not files",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_LONGEST_SUFFIX = 16  # bytes, of a temporary name


def write_error(path: str | Path, error: OSError) -> UserError:
    """The one sentence for a file or folder that could not be written: which, why, what to do."""
    reason = (error.strerror or str(error) or type(error).__name__).strip().rstrip(".")
    if reason[1:2].islower():  # "No space left on device", but not an acronym
        reason = reason[0].lower() + reason[1:]
    remedy = _REMEDIES.get(error.errno or 0, "choose another folder")
    return UserError(f"cannot write {path}: {reason}; {remedy}")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; move it to `path` when the body succeeds.

    The folder is made if needed. The temporary name is short, however long that of `path` is, and
    keeps its suffix, for writers that choose the format by it. If the body raises (Ctrl-C
    included), the temporary file is removed and an existing file at `path` stays as it was.

    Args:
      path: the file to write.

    Yields:
      The path that the body must write, as one closed regular file.

    Raises:
      UserError: the file cannot be written: no space, no permission, `path` is a folder ...
    """
    path = Path(path)
    # without the name's stem: what is as long as the file system allows leaves no room for more
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp{suffix}")
    ours = {None, os.fspath(path), os.fspath(temporary), os.fspath(path.parent)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        # an error about a file that the body only reads is not ours to explain
        folders = {os.fspath(folder) for folder in path.parents}
        if error.filename not in ours | folders:
            raise
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_name(path: str | Path) -> None:
    """Refuse a name that the file system cannot take, before hours are spent on what it is for.

    Raises:
      UserError: the name, or the path as a whole, is too long. Whatever else is wrong with it
        shows when it is written.
    """
    path = Path(path)
    folder = path.parent
    while not os.path.isdir(folder) and folder != folder.parent:  # noqa: PTH112 (never raises)
        folder = folder.parent  # asked below a folder that is not there, nothing else is looked at
    try:
        os.lstat(folder / path.name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise write_error(path, error) from error


def _flush(path: Path) -> None:
    """Bring the contents to disk before the rename, else a power cut could leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Bring a rename in `folder` to disk, where the platform can; never raises."""
    # not every file system and platform can flush a folder, and the file itself is safe already
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def prepare_folder(path: str | Path) -> Path:
    """Make a folder and try it, so that a long job does not find out at its end.

    Raises:
      UserError: it cannot be made or written to.
    """
    path = Path(path).expanduser()
    trial = path / f".trial.{secrets.token_hex(4)}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(b"\0")
        trial.unlink()
    except OSError as error:
        raise write_error(path, error) from error
    return path
