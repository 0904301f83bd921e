"""``kill``: signals to a container's first process, or to all of them."""

from __future__ import annotations

import os

from ocirt.cgroup.freezer import require
from ocirt.errors import OcirtError, StateError
from ocirt.host import kernel
from ocirt.runtime.status import has_pid_namespace, living, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.store import Container, State

SIGKILL = 9
# signal(7), the numbers of x86_64 and aarch64, from 1 on. The module signal would import enum,
# which takes longer than all of this verb.
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP"
    " TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_NUMBERS = {name: number for number, name in enumerate(_NAMES, 1)}
_NUMBERS.update(IOT=6, CLD=17, POLL=29, RTMIN=34, RTMAX=64)
_LAST = 64


def signal_number(text: str) -> int:
    """``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``, ``RTMAX-1``, in any case; 0 only asks whether
    there is a process. Raises OcirtError."""
    name = text.upper().removeprefix("SIG")
    number = -1
    if name.isascii() and name.isdigit():
        number = int(name[:8])
    elif name in _NUMBERS:
        number = _NUMBERS[name]
    elif name[:5] in ("RTMIN", "RTMAX") and name[6:].isascii() and name[6:].isdigit():
        offset = int(name[6:][:8])
        number = {"RTMIN+": 34 + offset, "RTMAX-": 64 - offset}.get(name[:6], -1)
        number = number if number >= 34 else -1
    if not 0 <= number <= _LAST:
        raise OcirtError(f"unknown signal {text!r}")
    return number


def open_process(state: State) -> int:
    """A pidfd of the container's first process. Raises ProcessLookupError.

    The start time is compared after the open: what the descriptor means can't change any more.
    """
    pidfd = kernel.pidfd_open(state.pid)
    if process(state.pid)[1] != state.pid_start:
        os.close(pidfd)
        raise ProcessLookupError(3, "No such process")
    return pidfd


def open_root(state: State, pidfd: int) -> int:
    """The root folder, O_PATH, of the container's first process, which ``pidfd`` is. Raises
    ProcessLookupError.

    Looked at after the open: as long as that process is there, its pid is no other's.
    """
    try:
        root = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(3, "No such process") from None
    try:
        kernel.pidfd_send_signal(pidfd, 0)
    except PermissionError:
        pass  # but it is there
    except BaseException:
        os.close(root)
        raise
    return root


def kill(container: Container, state: State | None, number: int, everyone: bool) -> None:
    """Raises StateError where there is nothing to signal (CONTRACT.md rows 18 and 35): that is
    no error for ``everyone``, which reaches processes that outlived the first one too. SIGKILL
    ends the whole container, as with runc."""
    if state is not None and (everyone or number == SIGKILL):
        if _signal_cgroup(container, state, number, everyone):
            return
    state, now = living(container, state)
    try:
        pidfd = open_process(state)
        try:
            kernel.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)
        if now == "paused" and number == SIGKILL:
            # A frozen process of cgroup v1 ends when it is thawed; of v2 at once.
            require(state.cgroup).thaw()
    except ProcessLookupError:
        raise StateError("container not running: os: process already finished") from None
    except OSError as error:
        raise OcirtError(f"signal {number}: {error.strerror}", errno=error.errno or 0) from None


def _signal_cgroup(container: Container, state: State, number: int, everyone: bool) -> bool:
    """Signals all processes of the container. False where its first one is enough: the others of
    its pid namespace end with that."""
    if not state.cgroup.get("folders"):
        if everyone:
            from ocirt.runtime.members import signal_all

            signal_all(state, container.read_config(), number)
        return everyone
    from ocirt.cgroup.manager import from_state

    manager = from_state(state.cgroup)
    if not everyone and (has_pid_namespace(container.read_config()) or not manager.processes()):
        return False
    manager.kill(number)
    return True
