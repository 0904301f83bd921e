"""Id maps of user namespaces: /proc/PID/uid_map and gid_map (user_namespaces(7))."""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.host.constants import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (first id inside, first id outside, how many)
    Row = tuple[int, int, int]

FILES = {"uidMappings": "uid_map", "gidMappings": "gid_map"}


def write(pid: int, key: str, mappings: list[Row], at: str) -> None:
    """Writes a map of the user namespace that process ``pid`` is in, which has none yet.

    ``key``: of FILES. Raises KernelError.
    """
    text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in mappings)
    page = os.sysconf("SC_PAGE_SIZE")
    if len(text) >= page:  # the kernel reads it by one write(2) of less than that
        raise KernelError(f"{len(text)} bytes of mappings, the kernel takes {page - 1}", at=at)
    try:
        fd = os.open(f"/proc/{pid}/{FILES[key]}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        hint = ""
        if error.errno == errno.EPERM:
            hint = "ids can be mapped that ocirt's own user namespace has, and by its root"
        text = f"{FILES[key]} of the user namespace: {error.strerror}"
        raise KernelError(text, at=at, errno=error.errno or 0, hint=hint) from None


def read(pid: int, key: str) -> list[Row]:
    """The map of the user namespace that process ``pid`` is in. Raises OSError."""
    with open(f"/proc/{pid}/{FILES[key]}", encoding="ascii") as file:
        found = [tuple(map(int, line.split())) for line in file]
    return [(inside, outside, size) for inside, outside, size in found]


def host_id(mappings: list[Row], inside: int) -> int | None:
    """What the id ``inside`` is outside; None where it is not mapped."""
    for first, outside, size in mappings:
        if first <= inside < first + size:
            return outside + inside - first
    return None


def new_namespace(uids: list[Row], gids: list[Row], at: str) -> int:
    """A descriptor of a user namespace that nobody is in. Raises KernelError.

    The machine is born in it, waits for a word, and ends when there is none.
    """
    exe = kernel.machine_fd()
    ours, theirs = kernel.socketpair()
    try:
        pid, pidfd = kernel.spawn(CLONE_NEWUSER, -1, exe, theirs, 3)
    except OSError as error:
        os.close(ours)
        text = f"make a user namespace: {error.strerror}"
        raise KernelError(text, at=at, errno=error.errno or 0) from None
    finally:
        os.close(exe)
        os.close(theirs)
    try:
        for key, mappings in zip(FILES, (uids, gids)):
            write(pid, key, mappings, at)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ours)
        os.close(pidfd)
        os.waitpid(pid, 0)
