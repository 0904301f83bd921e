"""Signals to all processes of a cgroup, so that none escapes by a fork.

v2: cgroup.kill (Linux 5.14). v1, and other signals: the cgroup is frozen while its processes are
walked. Nothing here waits for a fixed time: a pidfd tells when a process has ended.
"""

from __future__ import annotations

import os
import time

from ocirt.cgroup.freezer import find
from ocirt.cgroup.limits import write_file
from ocirt.errors import KernelError
from ocirt.host import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.freezer import Freezer
    from ocirt.cgroup.manager import Manager

SIGKILL = 9
_PATIENCE = 10.0  # seconds until all have ended


def kill(manager: Manager, signal: int) -> None:
    """SIGKILL: returns when none is left, or after ``_PATIENCE``. Raises KernelError."""
    if signal != SIGKILL:
        _signal(manager, signal)
        return
    end, pause = time.monotonic() + _PATIENCE, 0.0
    while (pids := manager.processes()) and time.monotonic() < end:
        time.sleep(pause)
        pause = 2 * pause or 0.0005  # for what forked meanwhile
        pidfds = _open(pids)
        try:
            if not (manager.pure and _kill_cgroup(manager.unified)):
                _signal(manager, signal)
            _wait(pidfds, end)
        finally:
            for pidfd in pidfds:
                os.close(pidfd)


def _kill_cgroup(folder: str) -> bool:
    try:
        write_file(f"{folder}/cgroup.kill", "1")
    except FileNotFoundError:
        return not os.path.isdir(folder)  # threaded cgroups lack the file
    except OSError:
        return False
    return True


def _open(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            found.append(kernel.pidfd_open(pid))
        except OSError:
            pass  # it has ended
    return found


def _wait(pidfds: list[int], end: float) -> None:
    for pidfd in pidfds:
        kernel.pidfd_wait(pidfd, max(0, (end - time.monotonic()) * 1000))


def _signal(manager: Manager, signal: int) -> None:
    """To every process: frozen, none can fork away from it. They stay frozen if they were, but
    SIGKILL has to reach them."""
    freezer = find(manager.state())
    was_frozen = freezer is not None and freezer.is_frozen()
    if freezer and not was_frozen and manager.processes():
        _try_to_freeze(freezer)
    pids = manager.processes()
    for pid in pids:
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            pass
    if freezer and pids and (signal == SIGKILL or not was_frozen):
        freezer.thaw()


def _try_to_freeze(freezer: Freezer) -> None:
    try:
        freezer.freeze()
    except KernelError:
        pass  # the next round gets those that were missed
