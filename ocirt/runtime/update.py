"""``update``: other limits for a container that exists."""

from __future__ import annotations

from ocirt.cgroup.manager import from_state
from ocirt.errors import KernelError, OcirtError, StateError
from ocirt.runtime.status import living

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.device_rules import Rules
    from ocirt.cgroup.manager import Manager
    from ocirt.runtime.store import Container, State


def update(
    container: Container, resources: dict[str, Any], name: str, rdt: dict[str, str] | None = None
) -> None:
    """Sets what ``resources``, linux.resources in a document ``name``, say; all or nothing.

    ``rdt``: {flag of the command line: lines for the schemata of its resctrl group}. Raises
    OcirtError, with pointers that start at ``resources``.
    """
    container.lock()
    state, _ = living(container, container.read_state())
    try:
        if rdt:
            _with_rdt(container, state, resources, rdt)
        else:
            _limit(container, state, resources)
    except OcirtError as error:
        error.document = name
        raise


def _limit(container: Container, state: State, resources: dict[str, Any]) -> None:
    manager = from_state(state.cgroup)
    if "devices" in resources:
        _with_devices(container, state, manager, resources)
    else:
        manager.limit(resources, "")


def _with_rdt(
    container: Container, state: State, resources: dict[str, Any], rdt: dict[str, str]
) -> None:
    from ocirt.cgroup import intel_rdt

    if not state.intel_rdt:  # as runc: its processes are in no group of their own
        raise StateError("the container was created without linux.intelRdt")
    group = intel_rdt.from_state(state.intel_rdt)
    lines = [(flag, line) for flag, text in rdt.items() for line in text.split("\n") if line]
    try:
        group.check_resources(lines)
        before = group.write(lines)
    except OcirtError as error:
        raise KernelError(f"{error.at}: {error.message}", errno=error.errno) from None
    try:
        _limit(container, state, resources)
    except BaseException:
        group.restore(before)
        raise


def _with_devices(
    container: Container, state: State, manager: Manager, resources: dict[str, Any]
) -> None:
    """What the rules are is saved before they change: of an update that was cut short on cgroup
    v1 nobody knows what they are, and the next one begins with denying all."""
    from ocirt.cgroup import devices
    from ocirt.cgroup.device_rules import normalise

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
    from ocirt.cgroup.device_rules import normalise

    if saved:
        return normalise(saved["rules"], "/devices")
    from ocirt.json_text import loads
    from ocirt.runtime.store import CONFIG

    document = loads(container.read(CONFIG), CONFIG)
    resources = (document.get("linux") or {}).get("resources") or {}
    return normalise(resources.get("devices") or [])
