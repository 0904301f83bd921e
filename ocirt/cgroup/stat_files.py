"""Reading the files of a cgroup that hold numbers.

A file that is not there is 0 or empty: a controller that is off, an older kernel, a cgroup that
was removed a moment ago. A line that is no number is passed over, as some kernels add their own.
"""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError

MAX = (1 << 64) - 1  # "max" of cgroup v2: no limit
# ENODEV: the cgroup was removed after the open. EOPNOTSUPP: pressure files of a kernel that needs
# psi=1, cgroup.procs of a threaded cgroup.
_ABSENT = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.EOPNOTSUPP)


def read(folder: str, name: str) -> str | None:
    """The text of a file; None if there is none. Raises KernelError."""
    path = f"{folder}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise KernelError(f"read {path}: {error.strerror}", errno=error.errno or 0) from None
    return b"".join(parts).decode(errors="replace")


def lines(folder: str, name: str) -> list[list[str]]:
    """The words of every line that has some."""
    return [words for line in (read(folder, name) or "").splitlines() if (words := line.split())]


def signed(folder: str, name: str) -> int:
    """The number of a file with one number."""
    text = (read(folder, name) or "").strip()
    return MAX if text == "max" else _number(text) or 0


def number(folder: str, name: str) -> int:
    """The same, not below 0: some counters of kernels with a mistake are."""
    return max(0, signed(folder, name))


def table(folder: str, name: str) -> dict[str, int]:
    """A file of lines ``key number``; none is below 0."""
    found = {}
    for words in lines(folder, name):
        value = _number(words[1]) if len(words) == 2 else None
        if value is not None:
            found[words[0]] = max(0, value)
    return found


def huge_page_sizes(folder: str, suffix: str) -> list[tuple[str, str]]:
    """(``2MB``, ``hugetlb.2MB.rsvd``) for every size that has a file with the ``suffix``.

    Where the kernel tells of reserved pages (5.7), those are meant: a limit counts them.
    """
    try:
        names = set(os.listdir(folder))
    except OSError:
        return []
    found = []
    for name in sorted(names):
        words = name.split(".")
        if words[0] == "hugetlb" and words[2:] == [suffix]:
            reserved = f"hugetlb.{words[1]}.rsvd"
            base = reserved if f"{reserved}.{suffix}" in names else f"hugetlb.{words[1]}"
            found.append((words[1], base))
    return found


def _number(text: str) -> int | None:
    digits = text.removeprefix("-")
    return int(text) if digits.isdecimal() else None
