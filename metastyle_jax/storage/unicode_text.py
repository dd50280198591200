"""Text for files in UTF-8, also where it names files whose names are not UTF-8."""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text with what UTF-8 cannot hold written out.

    Bytes of a file's name that stand for no character reach Python as surrogates: byte E9 is
    written as `\\udce9`.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
