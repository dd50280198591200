"""Huge pages for large arrays on Linux, so that steps on a CPU do not wait for the kernel.

XLA allocates the temporary arrays of a step anew in each, and the kernel fills them page by page.
With pages of 2 MB instead of 4 kB that is a sixtieth of the work. The C library asks for them if a
variable of the environment says so, which it reads when a process begins.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

VARIABLE, SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SINCE = (2, 35)  # of glibc


def begin_again() -> None:
    """Replace this process by one with the same command line and `VARIABLE`, where that pays.

    Call it first of all. It returns where huge pages cannot be asked for, where the variable is set
    already, also to "", or in a debugger.
    """
    if VARIABLE in os.environ or not can_be_asked_for() or sys.gettrace() or not sys.executable:
        return
    environment = {**os.environ, VARIABLE: SETTING}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    except OSError:
        return  # slower, no worse


def can_be_asked_for() -> bool:
    """Whether the kernel gives huge pages to those who ask, and the C library knows how to ask."""
    try:
        library = re.fullmatch(r"glibc (\d+)\.(\d+).*", os.confstr("CS_GNU_LIBC_VERSION") or "")
        kernel = _KERNEL.read_text()
    except (AttributeError, ValueError, OSError):  # another system, library or kernel
        return False
    return bool(library) and tuple(map(int, library.groups())) >= _SINCE and "[madvise]" in kernel


def described() -> str:
    """What `metastyle doctor` says of them."""
    if SETTING in os.environ.get(VARIABLE, ""):
        return f"huge ({VARIABLE}={os.environ[VARIABLE]})"
    if can_be_asked_for():
        return f"small, because {VARIABLE} says so; without it they are huge and steps are faster"
    return "as the system gives them"
