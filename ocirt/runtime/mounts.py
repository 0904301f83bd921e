"""``mounts``: a container that was created gets one more mount, or loses one."""

from __future__ import annotations

import os

from ocirt.errors import OcirtError, StateError
from ocirt.host.pins import open_pin
from ocirt.plan.live_mounts import compile_add, compile_remove
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.verify import verify
from ocirt.runtime.kill import open_process
from ocirt.runtime.session import Session
from ocirt.runtime.status import living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan
    from ocirt.runtime.store import Container, State


def add(container: Container, mounts: list[dict[str, Any]], document: dict[str, Any]) -> None:
    """Makes ``mounts``, in order, up to the first that fails. ``document``: the container's
    config.json. Raises OcirtError; pointers start with /mounts."""
    state = _living(container, document)
    _carry_out(compile_add(mounts, document, state.bundle), state)


def remove(container: Container, mounts: list[dict[str, Any]], document: dict[str, Any]) -> None:
    """Unmounts what is at their destinations, in order, up to the first that fails. Raises
    OcirtError; pointers start with /mounts."""
    state = _living(container, document)
    _carry_out(compile_remove(mounts), state)


def _living(container: Container, document: dict[str, Any]) -> State:
    container.lock()
    state, _ = living(container, container.read_state())
    namespaces = Namespaces(document.get("linux") or {})
    if "mount" not in namespaces.new:
        raise OcirtError("the container has no mount namespace of its own", at="/linux/namespaces")
    if namespaces.has("user"):
        # The kernel would let the container's root change flags that the host's mounts have.
        text = "a container with a user namespace gets its mounts at create alone"
        raise OcirtError(text, at="/linux/namespaces")
    return state


def _carry_out(plan: Plan, state: State) -> None:
    from ocirt import log

    verify(plan)
    for warning in plan.warnings:
        log.warning(str(warning))
    fds: dict[int, int] = {}
    try:
        for pin in plan.pins:
            fds[pin.slot] = open_process(state) if pin.kind == "pidfd" else open_pin(pin)
        if any(pin.id_map for pin in plan.pins):
            from ocirt.host.id_mapped import id_map

            id_map(plan.pins, fds)
        session = Session(plan)
        try:
            session.run(fds, {})
        finally:
            session.kill()
    except ProcessLookupError:
        raise StateError(f"container not running: {state.id} is stopped") from None
    finally:
        for fd in fds.values():
            os.close(fd)
