"""The systemd driver: the container's cgroup is a transient scope (or slice) of systemd's.

The folders are made before systemd is told of them: the first process is born in its cgroup as with
the cgroupfs driver, mounts can refer to it, and systemd takes an existing folder as its own. Limits
are written to the files, and then systemd is told what these say (systemd_properties.py). An empty
scope is removed by systemd, with its cgroup.
"""

from __future__ import annotations

from ocirt.cgroup.manager import Manager
from ocirt.cgroup.systemd_unit import Unit, parse, start_properties
from ocirt.errors import OcirtError, StateError
from ocirt.host.rootless import is_rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocirt.cgroup.device_rules import Rules
    from ocirt.cgroup.layout import Layout
    from ocirt.cgroup.limits import Write
    from ocirt.cgroup.systemd_bus import Bus
    from ocirt.cgroup.systemd_unit import Property

    Placed = tuple[str, Property]  # JSON pointer of who asks for it, the property

_AT = "/linux/cgroupsPath"
_DEVICES = "/linux/resources/devices"
_OOM_GROUP = "/linux/resources/unified/memory.oom.group"


class SystemdManager(Manager):
    """``unit``: with its slice; ``user``: it is one of the user's systemd, which also makes and
    moves everything, because the user may not; ``extra``: further properties for its start;
    ``oom_group``: linux.resources.unified's memory.oom.group, which it has to know then."""

    __slots__ = ("_bus", "_ours", "extra", "oom_group", "unit", "user")

    only_folders = False

    def __init__(
        self,
        folders: dict[str, str],
        cgroups: dict[str, str],
        unified: str,
        pure: bool,
        unit: Unit,
        user: bool,
    ) -> None:
        super().__init__(folders, cgroups, unified, pure)
        self.unit = unit
        self.user = user
        self.extra: list[Placed] = []
        self.oom_group = ""
        self._bus: Bus | None = None
        self._ours = False  # systemd was asked to start the unit, and had none of that name

    def state(self) -> dict[str, Any]:
        unit = {"name": self.unit.name, "slice": self.unit.slice, "user": self.user}
        return {**super().state(), "unit": unit}

    def bus(self) -> Bus:
        """The connection, made at first use. Raises OcirtError."""
        if self._bus is None:
            from ocirt.cgroup.systemd_bus import connect

            self._bus = connect(self.user)
        return self._bus

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def create(self) -> None:
        if not self.user:
            super().create()

    def open(self) -> int:
        return -1 if self.user else super().open()

    def enter(self, pid: int) -> None:
        from ocirt.cgroup.systemd_bus import UNIT_EXISTS
        from ocirt.cgroup.systemd_properties import EVERY_DEVICE, oom_policy

        bus = self.bus()
        properties = [(_AT, p) for p in start_properties(self.unit, [pid], self.pure)]
        if not self.pure:
            properties += [(_AT, p) for p in EVERY_DEVICE]
        elif self.oom_group and not self.unit.is_slice:
            properties += [(_OOM_GROUP, p) for p in oom_policy(self.oom_group, bus.version)]
        properties += self.extra
        self._ours = True
        try:
            bus.start(self.unit.name, [p for _, p in properties])
        except OcirtError as error:
            self._ours = getattr(error, "name", "") != UNIT_EXISTS
            _place(error, properties, _AT)
            raise
        if self.user:
            return
        if self.unit.is_slice or not self.pure:
            super().join(pid)  # version 1: to the hierarchies that systemd doesn't know as well

    def join(self, pid: int) -> None:
        if self.user:
            self.bus().attach(self.unit.name, [pid])
            self.close()
        else:
            super().join(pid)

    def write(self, writes: Sequence[Write], base: str) -> None:
        from ocirt.cgroup.limits import carry_out, put_back, reader
        from ocirt.cgroup.systemd_properties import of_file, round_quotas

        for folder in {write.folder for write in writes}:
            round_quotas(writes, reader(folder))
        done = carry_out(writes)
        told: list[Placed] = []
        try:
            for write in writes:
                found = of_file(write.file, reader(write.folder), self.bus().version)
                told += [(write.at, p) for p in found]
            if told:
                self._set(told, base)
        except BaseException:
            put_back(done)
            raise
        # systemd writes all that belongs to a controller, by default what it doesn't know.
        carry_out(writes)

    def limit_devices(self, rules: Rules, current: Rules | None = None) -> None:
        if self.user:
            if not is_rootless():  # see ocirt.cgroup.rootless
                super().limit_devices(rules, current)
            return
        from ocirt.cgroup.systemd_properties import of_rules

        told = [(_DEVICES, found) for found in of_rules(rules, self.pure)]
        if self.pure:
            self._set(told, _DEVICES)
            super().limit_devices(rules, current)
            return
        # There is one list on version 1: processes that run would see it empty for a moment.
        from ocirt.cgroup.freezer import find

        freezer = find(self.state()) if current is not None else None
        if freezer and not freezer.is_frozen():
            freezer.freeze()
        else:
            freezer = None
        try:
            self._set(told, _DEVICES)
            super().limit_devices(rules, None)
        finally:
            if freezer:
                freezer.thaw()

    def destroy(self) -> None:
        try:
            if self._ours:
                self.bus().stop(self.unit.name)
        finally:
            super().destroy()
            self.close()

    def _set(self, properties: Sequence[Placed], at: str) -> None:
        """Raises OcirtError at the pointer of the property that systemd names, or ``at``."""
        try:
            self.bus().set_properties(self.unit.name, [p for _, p in properties])
        except OcirtError as error:
            _place(error, properties, at)
            raise


def plan_unit(
    layout: Layout, document: dict[str, Any], id: str, allow: bool, user: bool
) -> SystemdManager:
    """Where the container will be; makes nothing.

    ``allow``: may annotations set properties of the unit? ``user``: is it the user's systemd?
    Raises OcirtError. A user's manager is asked where its units are.
    """
    from ocirt.cgroup.systemd_annotations import annotated
    from ocirt.cgroup.systemd_bus import connect

    linux = document.get("linux") or {}
    unit = parse(linux.get("cgroupsPath") or "", id, user)
    extra = annotated(document.get("annotations") or {}, allow)
    top, bus = "/", None
    if user:
        if not layout.pure_v2:
            raise StateError("a user's systemd needs cgroup v2", at=_AT)
        bus = connect(user)
        top = bus.control_group()
    cgroup = unit.cgroup(top)
    cgroups = {h.name: cgroup for h in layout.hierarchies}
    folders = {h.name: h.folder(cgroup) for h in layout.hierarchies}
    unified = next((folders[h.name] for h in layout.hierarchies if h.v2), "")
    manager = SystemdManager(folders, cgroups, unified, layout.pure_v2, unit, user)
    manager.extra = extra
    manager.oom_group = (
        (linux.get("resources") or {}).get("unified", {}).get("memory.oom.group", "")
    )
    manager._bus = bus
    return manager


def restore(state: dict[str, Any]) -> SystemdManager:
    """The manager that ``state`` was taken from."""
    unit = state["unit"]
    manager = SystemdManager(
        state["folders"],
        state["cgroups"],
        state["unified"],
        state["pure"],
        Unit(unit["name"], unit["slice"]),
        unit["user"],
    )
    manager._ours = True
    return manager


def _place(error: OcirtError, properties: Sequence[Placed], at: str) -> None:
    """Gives what systemd answered its pointer."""
    if error.at is None:
        named = [where for where, (name, _, _) in properties if name in error.message]
        error.at = named[0] if named else at
