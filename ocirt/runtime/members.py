"""The processes of a container that has no cgroup: those of its pid namespace."""

from __future__ import annotations

import os

from ocirt.runtime.status import has_pid_namespace, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import State


def members(state: State, document: dict[str, Any]) -> list[int]:
    """Their pids, sorted. ``document``: config.json. Of a container in a pid namespace that others
    are in only the first one is known, and after its end none."""
    return _in(_own_namespace(state, document), state)


def signal_all(state: State, document: dict[str, Any], number: int) -> None:
    """Sends signal ``number`` to every one; who has ended meanwhile is no error."""
    from ocirt.host import kernel
    from ocirt.runtime.kill import open_process

    own = _own_namespace(state, document)
    for pid in _in(own, state):
        try:
            pidfd = open_process(state) if pid == state.pid else kernel.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            # The number may have been given to another process.
            if pid == state.pid or _namespace(pid) == own:
                kernel.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def _own_namespace(state: State, document: dict[str, Any]) -> str:
    """ "" where the container has none, or it can't be known."""
    return _namespace(state.pid) if has_pid_namespace(document) else ""


def _in(namespace: str, state: State) -> list[int]:
    if not is_alive(state.pid, state.pid_start):
        return []
    if not namespace:
        return [state.pid]
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return sorted(pid for pid in pids if _namespace(pid) == namespace)


def _namespace(pid: int) -> str:
    """Its pid namespace; "" where we may not look."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
