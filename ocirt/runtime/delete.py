"""``delete``: what a container was made of goes away, whatever state it was left in."""

from __future__ import annotations

import errno
import os

from ocirt import log
from ocirt.cgroup.freezer import find
from ocirt.cgroup.manager import from_state
from ocirt.errors import KernelError, OcirtError, StateError
from ocirt.runtime.kill import SIGKILL, open_process
from ocirt.runtime.status import has_pid_namespace, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import Container, State

_PATIENCE = 10_000  # milliseconds


def delete(container: Container, force: bool) -> None:
    """Raises StateError for a container that runs, unless ``force``.

    A created one that was never started is ended and deleted: engines count on that. The
    order (processes, mounts, cgroup, state) lets a delete that was cut short be done again.
    """
    container.lock()  # waits for a create at work; a killed one has let go
    state = _read_state(container, force)
    if state is None:
        container.remove()
        return
    now = status(container, state)
    if now not in ("created", "stopped") and not force:
        raise StateError(f"cannot delete container {container.id} that is not stopped: {now}")
    document = container.read_config()
    if now != "stopped" or not state.created:  # a create cut short may have left its process
        _end(state)
    manager = from_state(state.cgroup)
    if force or not state.created or not has_pid_namespace(document):
        manager.kill()
    if state.root_mount:
        from ocirt.host.root_mount import unmount

        unmount(state.root_mount, force)
    try:
        manager.destroy()
    except KernelError as error:
        if not force and error.errno == errno.EBUSY:
            error.hint = "ocirt delete --force kills what is in the cgroup"
        raise
    if state.intel_rdt:
        from ocirt.cgroup import intel_rdt

        intel_rdt.from_state(state.intel_rdt).destroy()
    container.remove()
    _run_poststop(state, document)


def _run_poststop(state: State, document: dict[str, Any]) -> None:
    """runtime.md, "Lifecycle", step 13: after the container's resources are gone; a failure is a
    warning."""
    hooks = (document.get("hooks") or {}).get("poststop")
    if hooks:
        from ocirt.runtime.hooks import run_lenient
        from ocirt.runtime.spec_state import spec_state

        run_lenient(hooks, "poststop", spec_state(state, "stopped"))


def _read_state(container: Container, force: bool) -> State | None:
    """None where there is none: a create that was cut short at once made nothing else. One that
    can't be read (a full disk, a crash of the host) must not stay for ever."""
    try:
        return container.read_state()
    except OcirtError as error:
        if not force:
            error.hint = "ocirt delete --force removes the container without it"
            raise
        log.warning(f"{error}; its cgroup, if there is one, is left")
        return None


def _end(state: State) -> None:
    """Kills the first process and waits for its end: with a pid namespace, all of them."""
    from ocirt.host import kernel

    try:
        pidfd = open_process(state)
    except OSError:
        return
    try:
        kernel.pidfd_send_signal(pidfd, SIGKILL)
        freezer = find(state.cgroup)
        if freezer and freezer.is_frozen():
            freezer.thaw()
        if not kernel.pidfd_wait(pidfd, _PATIENCE):
            raise OcirtError(f"process {state.pid} does not end after SIGKILL")
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
