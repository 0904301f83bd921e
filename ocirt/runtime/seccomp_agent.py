"""A filter's listener on its way to the agent that decides on calls (SCMP_ACT_NOTIFY;
config-linux.md, "Seccomp", listenerPath).

The process that has loaded the filter can do nothing for it: any call of its own may be one that
waits for the agent. So the descriptor is taken from it, under the number that it announced.
"""

from __future__ import annotations

import errno
import os
import select
import time

from ocirt import SPEC_VERSION
from ocirt.errors import KernelError
from ocirt.host import kernel
from ocirt.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Seconds: for the filter to be loaded; for the agent to let the process reach its program.
LOAD_MAX = 10.0
ANSWER_MAX = 30.0
_PAUSE = 0.0005
_AT = "/linux/seccomp/listenerPath"
_LISTENER = "anon_inode:seccomp notify"


def take_listener(pidfd: int, number: int, control: int) -> int:
    """The listener, once it is there; -1 if the process says something else first, on
    ``control``: that it failed. Raises KernelError."""
    end = time.monotonic() + LOAD_MAX
    said = select.poll()
    said.register(control, select.POLLIN)
    while time.monotonic() < end:
        over = bool(said.poll(0))  # before the last look, or it could come in between
        try:
            fd = kernel.pidfd_getfd(pidfd, number)
        except OSError as error:
            if error.errno == errno.ESRCH or (error.errno == errno.EBADF and over):
                return -1
            if error.errno != errno.EBADF:
                hint = "it needs CAP_SYS_PTRACE"
                raise _failed("take the listener from the process", error, hint) from None
            time.sleep(_PAUSE)
            continue
        if os.readlink(f"/proc/self/fd/{fd}") != _LISTENER:
            os.close(fd)
            raise KernelError(f"descriptor {number} of the process is no listener", at=_AT)
        return fd
    raise KernelError(f"the filter was not loaded within {LOAD_MAX:.0f} s", at=_AT)


def hand_over(profile: dict[str, Any], listener: int, pid: int, state: dict[str, Any]) -> None:
    """Sends the listener, and whose it is (runtime-spec, "Container Process State"), to the
    agent. ``state``: of the container. Raises KernelError."""
    document: dict[str, Any] = {"ociVersion": SPEC_VERSION, "fds": ["seccompFd"], "pid": pid}
    if profile.get("listenerMetadata"):
        document["metadata"] = profile["listenerMetadata"]
    document["state"] = state
    path = profile["listenerPath"]
    try:
        socket = kernel.connect(path)
    except OSError as error:
        raise _failed(f"failed to connect with seccomp agent {path}", error) from None
    try:
        try:
            data = dumps(document).encode()
            sent = kernel.send(socket, data, [listener])
            while sent < len(data):
                sent += kernel.send(socket, data[sent:])
        finally:
            os.close(socket)
    except OSError as error:
        raise _failed(f"hand the listener to the agent {path}", error) from None


def wait_for_report(control: int) -> None:
    """Returns when the process has said something on this descriptor, or closed it. Raises KernelError if the agent makes it wait
    for too long."""
    said = select.poll()
    said.register(control, select.POLLIN)
    if not said.poll(ANSWER_MAX * 1000):
        text = f"the agent has not let the process go on within {ANSWER_MAX:.0f} s"
        raise KernelError(text, at=_AT, errno=errno.ETIMEDOUT)


def _failed(what: str, error: OSError, hint: str = "") -> KernelError:
    return KernelError(f"{what}: {error.strerror}", at=_AT, errno=error.errno or 0, hint=hint)
