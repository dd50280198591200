"""Pictures that strangers send: what reading them costs is bounded by their length and size.

Pillow trusts headers. There are files of a few MB whose header alone takes it hours, or more memory
than a machine has; they are refused here, and so are formats that it cannot tell without decoding.
"""

from __future__ import annotations

import io

from PIL import Image

from metastyle_jax.data import decoding
from metastyle_jax.errors import UserError

# Pillow reads the size from the header of these. It decodes icons (ICO) to tell their size, others
# (ICNS) may hold a larger picture than they say, and some of the rest are decoded in Python.
_FORMATS = frozenset(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000"])
_READS = 10_000  # of a header; those of cameras and programs have hundreds of parts
_TIFF_BYTES = 2**21  # of a TIFF header: each of its numbers becomes an object
_LONG = 2**16  # bytes of EXIF data in the JPEG files of cameras
_SCANS = 100  # of a JPEG file; programs write ten. Each takes as long as a whole picture
_DIRECTORIES = (b"Exif\0\0", b"MPF\0")  # beginnings of JPEG segments that hold one


class Costly(UserError):
    """A picture that would take far more time or memory than its size says."""


def formats() -> tuple[str, ...]:
    """Formats that are taken, by Pillow's names, and as far as this Pillow has them."""
    return tuple(name for name in decoding.formats() if name in _FORMATS)


def sides(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) before any rotation, by the header; nothing is decoded.

    Args:
      data: the file.
      name: of the picture, for messages.

    Raises:
      UserError: no picture, or one of another format.
      TooManyPixels: of more pixels than are decoded anywhere.
      Costly: it would take too long to read.
    """
    _check_parts(data, name)
    return decoding.size_of(_Header(data, name), name, formats())


def decode(data: bytes, name: str) -> decoding.Layers:
    """A picture whose `sides` were checked, see `decoding.decode_layers`."""
    return decoding.decode_layers(io.BytesIO(data), name, formats())


def restrict_pillow() -> None:
    """Let others in this process, such as Gradio, open no more formats than are taken here."""
    known = formats()
    Image.ID[:] = [name for name in Image.ID if name in known]


class _Header(io.BytesIO):
    """A file that refuses to be read further than a sound header is long."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name
        self._reads = _READS
        is_tiff = data[:2] in (b"II", b"MM")
        self._bytes = _TIFF_BYTES if is_tiff else 2 * len(data) + _LONG
        self._exif = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads -= 1
        self._bytes -= len(data)
        if self._reads < 0 or self._bytes < 0:
            raise Costly(f"{self._name}: its header is too long; save it anew, without metadata")
        for start in _DIRECTORIES:
            if data.startswith(start):
                self._check_directory(data, start)
        return data

    def _check_directory(self, data: bytes, start: bytes) -> None:
        # Pillow joins all EXIF segments, standards know one
        repeated = self._exif and start == _DIRECTORIES[0]
        self._exif = self._exif or start == _DIRECTORIES[0]
        if repeated or not decoding.is_sound_directory(data.removeprefix(start)):
            raise _exif_problem(self._name)


def _check_parts(data: bytes, name: str) -> None:
    """Refuse what shows in the bytes of a file without its structure."""
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > _SCANS:
        raise Costly(f"{name}: it has more than {_SCANS} scans; save it anew, not progressively")
    # Pillow loads those of AVIF files before anyone can look at them
    if data[4:8] == b"ftyp" and len(data) > _LONG and b"Exif" in data:
        raise _exif_problem(name)


def _exif_problem(name: str) -> Costly:
    return Costly(f"{name}: its EXIF data cannot be read here; save it anew, without metadata")
