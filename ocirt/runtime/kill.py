"""``kill``: signals to a container's first process, or to all of them."""

from __future__ import annotations

import signal

from ocirt.cgroup.manager import from_state
from ocirt.errors import OcirtError, StateError
from ocirt.host import kernel
from ocirt.runtime.status import process, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.store import Container, State


def signal_number(text: str) -> int:
    """``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``, in any case. Raises OcirtError."""
    if text.isascii() and text.isdigit():
        number = int(text)
    else:
        name, plus, offset = text.upper().removeprefix("SIG").partition("+")
        number = getattr(signal, "SIG" + name, 0)
        if plus:
            number = number + int(offset) if offset.isdigit() and name == "RTMIN" else 0
    if not isinstance(number, int) or not 0 < number <= 64:
        raise OcirtError(f"unknown signal {text!r}")
    return int(number)


def open_process(state: State) -> int:
    """A pidfd of the container's first process. Raises ProcessLookupError.

    The start time is compared after the open: what the descriptor means can't change any more.
    """
    pidfd = kernel.pidfd_open(state.pid)
    if process(state.pid)[1] != state.pid_start:
        import os

        os.close(pidfd)
        raise ProcessLookupError(3, "No such process")
    return pidfd


def kill(container: Container, state: State, number: int, everyone: bool) -> None:
    """Raises StateError where there is nothing to signal (CONTRACT.md rows 18 and 35)."""
    if everyone:
        from_state(state.cgroup).kill(number)
        return
    if status(container, state) == "stopped":
        raise StateError("container not running")
    try:
        kernel.pidfd_send_signal(open_process(state), number)
    except ProcessLookupError:
        raise StateError("container not running: os: process already finished") from None
    except OSError as error:
        raise OcirtError(f"signal {number}: {error.strerror}", errno=error.errno or 0) from None
