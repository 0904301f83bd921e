"""A container's status (runtime.md, "State"): from its state folder and its process."""

from __future__ import annotations

import errno
import os

from ocirt.cgroup.freezer import find
from ocirt.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.store import Container, State


def process(pid: int) -> tuple[str, int]:
    """(state letter, start time in clock ticks since boot) of a process; ("", 0) if it is gone.

    proc_pid_stat(5): the name of the program, in parentheses, may hold spaces and
    parentheses of its own, so the fields are counted from the last one.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "", 0
    try:
        data = os.read(fd, 4096)
    except OSError:
        return "", 0
    finally:
        os.close(fd)
    fields = data[data.rfind(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])


def is_alive(pid: int, start: int) -> bool:
    """Does that very process run? A zombie does not."""
    if pid <= 0:
        return False
    letter, started = process(pid)
    return started == start and letter not in ("", "Z", "X", "x")


def status(container: Container, state: State | None) -> str:
    """creating, created, running, paused or stopped; ``state`` is what ``read_state`` returned.

    A create that was cut short is stopped: what it left can be deleted. Whoever froze the
    cgroup, it is paused.
    """
    if state is None:
        # Between mkdir and the first state.json the creator holds the lock.
        return "creating" if container.is_locked() else "stopped"
    if not state.created:
        return "creating" if is_alive(state.creator, state.creator_start) else "stopped"
    if not is_alive(state.pid, state.pid_start):
        return "stopped"
    freezer = find(state.cgroup)
    if freezer and freezer.is_frozen():
        return "paused"
    return "created" if _waits(container) else "running"


def living(container: Container, state: State | None) -> tuple[State, str]:
    """(state, status) of a container that has a process. Raises StateError for any other, in the
    words that callers look for (CONTRACT.md row 35)."""
    now = status(container, state)
    if state is None or now not in ("created", "running", "paused"):
        raise StateError(f"container not running: {container.id} is {now}")
    return state, now


def _waits(container: Container) -> bool:
    """Does the machine wait for start? Then it reads the FIFO, and so it can be opened to write
    (fifo(7)). That it is there says nothing: a start may have been cut short."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open("start", flags, dir_fd=container.fd))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO):
            raise
        return False
    return True
