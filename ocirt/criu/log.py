"""CRIU's log: what it says of a failure, which its answer does not."""

from __future__ import annotations

import os

_MARK = "Error ("
# CRIU goes on after it (no CAP_SYS_RESOURCE).
_HARMLESS = "rlimit: Can't setup RLIMIT_NOFILE"
_TAIL = 1 << 22  # bytes; the log of a restore that failed early is far smaller


def cause(folder: int, name: str) -> str:
    """The first error in the log ``name`` of ``folder``: those after it are what came of it. ""
    if there is none."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _TAIL))
        for line in file:
            text = line.decode(errors="replace")
            if _MARK in text and _HARMLESS not in text:
                return _without_place(text)
    return ""


def _without_place(line: str) -> str:
    """``(00.013) Error (criu/tty.c:1): tty: no such`` to ``tty: no such``."""
    return line.partition(_MARK)[2].partition("): ")[2].strip().rstrip(".")
