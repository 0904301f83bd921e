"""The processes of a container that has no cgroup: those of its pid namespace."""

from __future__ import annotations

import os

from ocirt.runtime.status import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.store import State


def members(state: State) -> list[int]:
    """Their pids, sorted. Of a container in the pid namespace of ocirt only the first one is known,
    and after its end none."""
    if not is_alive(state.pid, state.pid_start):
        return []
    wanted = _namespace(state.pid)
    if wanted in ("", _namespace("self")):
        return [state.pid]
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return sorted(pid for pid in pids if _namespace(pid) == wanted)


def signal_all(state: State, number: int) -> None:
    """Sends signal ``number`` to every one; who has ended meanwhile is no error."""
    from ocirt.host import kernel

    for pid in members(state):
        try:
            pidfd = kernel.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # The number may have been given to another process.
            if pid == state.pid or _namespace(pid) == _namespace(state.pid):
                kernel.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def _namespace(pid: int | str) -> str:
    """Its pid namespace; "" where we may not look."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
