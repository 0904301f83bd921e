"""``update``: other limits for a container that exists."""

from __future__ import annotations

from ocirt.cgroup import devices
from ocirt.cgroup.device_rules import normalise
from ocirt.cgroup.manager import from_state
from ocirt.errors import OcirtError, StateError
from ocirt.runtime.status import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.device_rules import Rules
    from ocirt.cgroup.manager import Manager
    from ocirt.runtime.store import Container, State


def update(container: Container, resources: dict[str, Any], name: str) -> None:
    """Sets what ``resources``, linux.resources in a document ``name``, say; all or nothing.

    Raises OcirtError, with pointers that start at ``resources``.
    """
    container.lock()
    state = container.read_state()
    now = status(container, state)
    if state is None or now not in ("created", "running", "paused"):
        raise StateError(f"container not running: {container.id} is {now}")
    manager = from_state(state.cgroup)
    try:
        if "devices" in resources:
            _with_devices(container, state, manager, resources)
        else:
            manager.limit(resources, "")
    except OcirtError as error:
        error.document = name
        raise


def _with_devices(
    container: Container, state: State, manager: Manager, resources: dict[str, Any]
) -> None:
    """What the rules are is saved before they change: of an update that was cut short on cgroup
    v1 nobody knows what they are, and the next one begins with denying all."""
    new = normalise(resources["devices"], "/devices")
    old = _current(container, state)
    devices.check(manager, new, old)
    before = state.devices
    state.devices = {"rules": resources["devices"], "sure": False}
    container.write_state(state)
    manager.limit_devices(new, old)
    try:
        manager.limit(resources, "")
    except OcirtError:
        manager.limit_devices(_rules(container, before), None)
        state.devices = before
        container.write_state(state)
        raise
    state.devices["sure"] = True
    container.write_state(state)


def _current(container: Container, state: State) -> Rules | None:
    """None where it is not known."""
    if state.devices and not state.devices["sure"]:
        return None
    return _rules(container, state.devices)


def _rules(container: Container, saved: dict[str, Any]) -> Rules:
    if saved:
        return normalise(saved["rules"], "/devices")
    from ocirt.json_text import loads
    from ocirt.runtime.store import CONFIG

    document = loads(container.read(CONFIG), CONFIG)
    resources = (document.get("linux") or {}).get("resources") or {}
    return normalise(resources.get("devices") or [])
