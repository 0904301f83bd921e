"""``delete``: what a container was made of goes away, whatever state it was left in."""

from __future__ import annotations

import os

from ocirt import log
from ocirt.cgroup.freezer import find
from ocirt.cgroup.manager import from_state
from ocirt.errors import OcirtError, StateError
from ocirt.runtime.kill import SIGKILL, open_process
from ocirt.runtime.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.runtime.store import Container, State

_PATIENCE = 10_000  # milliseconds


def delete(container: Container, force: bool) -> None:
    """Raises StateError for a container that runs, unless ``force``.

    A created one that was never started is ended and deleted: engines count on that. The
    order (processes, cgroup, state) lets a delete that was cut short be done again.
    """
    container.lock()  # waits for a create at work; a killed one has let go
    state = _read_state(container, force)
    if state is None:
        container.remove()
        return
    now = status(container, state)
    if now not in ("created", "stopped") and not force:
        raise StateError(f"cannot delete container {container.id} that is not stopped: {now}")
    hooks = poststop_hooks(container)
    if now != "stopped" or not state.created:  # a create cut short may have left its process
        _end(state)
    manager = from_state(state.cgroup)
    manager.kill()
    manager.destroy()
    if state.intel_rdt:
        from ocirt.cgroup import intel_rdt

        intel_rdt.from_state(state.intel_rdt).destroy()
    container.remove()
    run_poststop(state, hooks)


def poststop_hooks(container: Container) -> list[Any]:
    """Of the container's own copy of config.json: to be read before that is removed."""
    from ocirt.json_text import loads
    from ocirt.runtime.store import CONFIG

    try:
        hooks = loads(container.read(CONFIG), CONFIG).get("hooks") or {}
        return list(hooks.get("poststop") or [])
    except (OSError, OcirtError, AttributeError):
        return []  # a create cut short before it was written


def run_poststop(state: State, hooks: list[Any]) -> None:
    """runtime.md, "Lifecycle", step 13: after the container's resources are gone; a failure is a
    warning."""
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
    import select

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
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE):
            raise OcirtError(f"process {state.pid} does not end after SIGKILL")
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
