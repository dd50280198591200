"""Atomic writes: a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from metastyle_jax.errors import UserError
from metastyle_jax.storage.home_folder import expanded, is_folder
from metastyle_jax.storage.unicode_text import escaped

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
    """One sentence for a file or folder that could not be written: which, why, what to do."""
    reason = (error.strerror or str(error) or type(error).__name__).strip().rstrip(".")
    if reason[1:2].islower():  # "No space left on device", but not an acronym
        reason = reason[0].lower() + reason[1:]
    remedy = _REMEDIES.get(error.errno or 0, "choose another folder")
    return UserError(f"cannot write {path}: {reason}; {remedy}")


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; move it to `path` when the body succeeds.

    The folder is created if needed. The temporary name is short, and has the suffix of `path`,
    because some writers choose the format by it. If the body raises (also on Ctrl-C), the temporary
    file is removed and an existing file at `path` is unchanged.

    Args:
      path: the file to write.

    Yields:
      The path that the body must write, as one closed regular file.

    Raises:
      UserError: the file cannot be written: no space, no permission, `path` is a folder, or no name
        as "" and "." are ...
    """
    path = Path(path)
    _check_names_something(path)
    # without the stem, because a name of the maximal length leaves no room for an addition
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX else ""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp{suffix}")
    written = {None, os.fspath(path), os.fspath(temporary), os.fspath(path.parent)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        # errors about files that the body only reads are for the caller
        folders = {os.fspath(folder) for folder in path.parents}
        if error.filename not in written | folders:
            raise
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write text in UTF-8 as `unicode_text.escaped`, its line ends kept, whole or not at all.

    Raises:
      UserError: see `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(escaped(text).encode("utf-8"))


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the body succeeds.

    If the body raises (also on Ctrl-C), the temporary folder is removed.

    Args:
      path: the folder to write. It does not exist, or is empty.

    Yields:
      The folder that the body must fill.

    Raises:
      UserError: `path` holds files, is no name, or cannot be written.
    """
    path = Path(path)
    _check_names_something(path)
    if is_folder(path) and any(path.iterdir()):
        raise UserError(f"{path} holds files already: choose a new folder, or remove this one")
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        # errors about files that the body only reads are for the caller
        if not str(error.filename or path).startswith((str(path.parent), str(temporary))):
            raise
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_name(path: str | Path) -> None:
    """Refuse what cannot be the name of a new file, before a long computation.

    Raises:
      UserError: the name or the whole path is too long for the file system, or there is no name, as
        in "" and "..". Other problems show on writing.
    """
    path = Path(path)
    _check_names_something(path)
    folder = path.parent
    while not is_folder(folder) and folder != folder.parent:
        folder = folder.parent  # below a missing folder the length would not be checked
    try:
        os.lstat(folder / path.name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise write_error(path, error) from error


def _check_names_something(path: Path) -> None:
    # Path("") is Path("."), so that an unset variable of a shell comes here too
    if path.name in ("", ".."):
        raise UserError(f"{path} names no file: give --out a name")


def _flush(path: Path) -> None:
    """Flush to disk before the rename; otherwise a power cut could leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a rename in `folder` to disk where the platform can; never raises."""
    # some platforms cannot flush a folder; the contents of the file are on disk already
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def prepare_folder(path: str | Path) -> Path:
    """Create a folder and test that it is writable, before a long computation.

    Raises:
      UserError: it cannot be created or written to.
    """
    path = expanded(path)
    trial = path / f".trial.{secrets.token_hex(4)}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(b"\0")
        trial.unlink()
    except OSError as error:
        raise write_error(path, error) from error
    return path
