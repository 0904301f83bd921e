"""``delete``: what a container was made of goes away, whatever state it was left in."""

from __future__ import annotations

import os

from ocirt.cgroup.manager import from_state
from ocirt.errors import OcirtError, StateError
from ocirt.runtime.kill import open_process
from ocirt.runtime.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.runtime.store import Container, State

_SIGKILL = 9
_PATIENCE = 10_000  # milliseconds


def delete(container: Container, force: bool) -> None:
    """Raises StateError for a container that runs, unless ``force``.

    A created one that was never started is ended and deleted: engines count on that.
    """
    container.lock()
    state = container.read_state()
    if state is None:  # a create that was cut short at once
        container.remove()
        return
    now = status(container, state)
    if now in ("running", "paused", "creating") and not force:
        raise StateError(f"cannot delete container {container.id} that is not stopped: {now}")
    document = _config(container)
    if now != "stopped":
        _end(state)
    manager = from_state(state.cgroup)
    manager.kill()
    manager.destroy()
    container.remove()
    hooks = document.get("hooks") or {}
    if hooks.get("poststop"):
        from ocirt.runtime.hooks import run_lenient
        from ocirt.runtime.spec_state import spec_state

        run_lenient(hooks["poststop"], "poststop", spec_state(state, "stopped"))


def _config(container: Container) -> dict[str, object]:
    from ocirt.json_text import loads
    from ocirt.runtime.store import CONFIG

    try:
        document = loads(container.read(CONFIG), CONFIG)
    except (OSError, OcirtError):
        return {}  # cut short before it was written
    return document if isinstance(document, dict) else {}


def _end(state: State) -> None:
    """Kills the first process and waits for its end: with a pid namespace, all of them."""
    import select

    from ocirt.host import kernel

    try:
        pidfd = open_process(state)
    except OSError:
        return
    try:
        kernel.pidfd_send_signal(pidfd, _SIGKILL)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_PATIENCE):
        raise OcirtError(f"process {state.pid} does not end after SIGKILL")
    os.close(pidfd)
