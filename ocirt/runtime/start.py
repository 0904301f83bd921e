"""create's last step and ``start``: two FIFOs in the state folder.

start   the parked machine reads a byte from it, then becomes the program. A container is
        created, and not started, as long as the machine has it open.
report  the machine writes here why it could not; its end, without a word, is success.

A failure that the launcher was told (``ocirt.runtime.verbs``) is in the file FAILURE.
"""

from __future__ import annotations

import errno
import os

from ocirt.errors import KernelError, OcirtError, StateError
from ocirt.runtime.filters import waits_for_agent
from ocirt.runtime.session import decode_report
from ocirt.runtime.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.notify import Proxy
    from ocirt.runtime.store import Container, State

START, REPORT, FAILURE = "start", "report", "failure"
_PATIENCE = 5000  # ms


def make_fifos(container: Container) -> dict[str, int]:
    """Makes both; their descriptors, open for reading and writing: the machine never sees an
    end before a byte, and never waits for a reader."""
    found: dict[str, int] = {}
    try:
        for name in (START, REPORT):
            os.mkfifo(name, 0o600, dir_fd=container.fd)
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            found[name] = os.open(name, flags, dir_fd=container.fd)
    except OSError:
        for fd in found.values():  # they may be all that we can have
            os.close(fd)
        raise
    return found


def start(container: Container, state: State) -> Proxy | None:
    """Starts a created container. Raises OcirtError; what is left is for delete. What it returns
    has to hand on that the container is ready."""
    _raise_failure(container, state)  # first: the machine that has told it may still be ending
    now = status(container, state)
    if now == "stopped":
        raise StateError("cannot start a container that has stopped")
    if now != "created":
        raise StateError(f"cannot start a container that is {now}")
    document = _config(container)
    hooks = document.get("hooks") or {}
    if hooks.get("startContainer"):
        from ocirt.runtime.container_hooks import run_start_container

        run_start_container(container, state, document)
    proxy = None
    if os.environ.get("NOTIFY_SOCKET"):
        from ocirt.runtime.notify import open_proxy

        proxy = open_proxy(container)
    _wake(container, state, document)
    if hooks.get("poststart"):
        _poststart(container, state, hooks["poststart"])
    return proxy


def _raise_failure(container: Container, state: State) -> None:
    try:
        data = container.read(FAILURE)
    except FileNotFoundError:
        return
    os.unlink(FAILURE, dir_fd=container.fd)
    _wait_for_end(state)
    raise exec_failure(data, _config(container))


def _wait_for_end(state: State) -> None:
    """Of a machine that has failed: whoever deletes the container next finds it stopped."""
    from ocirt.host import kernel
    from ocirt.runtime.kill import open_process

    try:
        pidfd = open_process(state)
    except OSError:
        return
    kernel.pidfd_wait(pidfd, _PATIENCE)
    os.close(pidfd)


def _poststart(container: Container, state: State, hooks: list[dict[str, Any]]) -> None:
    """If one fails the container is stopped; its delete is the caller's (runtime.md, "Lifecycle", step 9)."""
    from ocirt.runtime.hooks import run_hooks
    from ocirt.runtime.spec_state import spec_state

    try:
        run_hooks(hooks, "poststart", spec_state(state, "running"))
    except OcirtError:
        from ocirt.runtime.kill import kill

        kill(container, state, 9, everyone=True)
        raise


def _config(container: Container) -> dict[str, Any]:
    from ocirt.json_text import loads
    from ocirt.runtime.store import CONFIG

    document = loads(container.read(CONFIG), "config.json")
    assert isinstance(document, dict)
    return document


def _wake(container: Container, state: State, document: dict[str, Any]) -> None:
    nowait = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        report = os.open(REPORT, os.O_RDONLY | nowait, dir_fd=container.fd)
        wake = os.open(START, os.O_WRONLY | nowait, dir_fd=container.fd)
    except OSError as error:
        text = "cannot start a container that has stopped"
        raise StateError(text, errno=error.errno or 0) from None
    os.set_blocking(report, True)
    try:
        os.write(wake, b"1")
    except OSError as error:
        raise KernelError(f"start: {error.strerror}", errno=error.errno or 0) from None
    _unlink(container, START)
    if waits_for_agent(document):
        _wait_for_agent(container, state, report)
    data = os.read(report, 4096)
    os.close(report)
    os.close(wake)
    _unlink(container, REPORT)
    if data:
        _wait_for_end(state)
        raise exec_failure(data, document)


def _wait_for_agent(container: Container, state: State, report: int) -> None:
    from ocirt.runtime.kill import kill
    from ocirt.runtime.seccomp_agent import wait_for_report

    try:
        wait_for_report(report)
    except KernelError:
        kill(container, state, 9, everyone=True)
        raise


def _unlink(container: Container, name: str) -> None:
    """Of no use any more; delete removes what stays."""
    try:
        os.unlink(name, dir_fd=container.fd)
    except OSError:
        pass


def exec_failure(data: bytes, document: dict[str, Any]) -> OcirtError:
    """The error that a parked machine reported: execve(2) failed."""
    _kind, _op, _step, number, _value, path = decode_report(data)
    program = document["process"]["args"][0]
    text = f"program {program}: exec {path}: {os.strerror(number).lower()}"
    hint = ""
    if number == errno.ENOEXEC:
        hint = "is it a program for this machine, or a script without its #! line?"
    elif number == errno.ENOENT:
        hint = "it is there: its interpreter (dynamic loader, #! line) is missing"
    return KernelError(text, at="/process/args/0", errno=number, hint=hint)
