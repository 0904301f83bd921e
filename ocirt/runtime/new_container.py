"""What create and restore have in common: a container of theirs, from its cgroup to its first process."""

from __future__ import annotations

import os

from ocirt.cgroup import devices
from ocirt.cgroup.device_rules import normalise
from ocirt.cgroup.layout import Layout, detect
from ocirt.cgroup.manager import Manager, plan
from ocirt.errors import OcirtError
from ocirt.plan.namespaces import Namespaces
from ocirt.runtime.filters import filter_of
from ocirt.runtime.new_state import new_state
from ocirt.runtime.store import CONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.config.load import Config
    from ocirt.runtime.store import Container, Store
    from ocirt.seccomp.filter import Filter


class NewContainer:
    """Nothing is made before ``claim``.

    ``document``: config.json, with the mount that NOTIFY_SOCKET wants (``notify``); ``linux``: of
    it; ``fds``: of the pins, by slot; ``container``: for the subclass to create, when it knows that
    all can be done.
    """

    __slots__ = (
        "config",
        "container",
        "device_rules",
        "document",
        "fds",
        "layout",
        "linux",
        "manager",
        "namespaces",
        "net_devices",
        "notify",
        "rdt",
        "state",
        "user",
    )

    def __init__(
        self,
        config: Config,
        store: Store,
        id: str,
        driver: str,
        systemd_annotations: bool,
        rootless: bool = False,
    ) -> None:
        self.config = config
        self.document = config.document
        self.linux: dict[str, Any] = self.document.get("linux") or {}
        self.namespaces = Namespaces(self.linux)
        self.notify = bool(os.environ.get("NOTIFY_SOCKET")) and self.namespaces.has("mount")
        if self.notify:
            from ocirt.runtime.notify import add_mount

            add_mount(self.document, os.path.join(store.root, id))
        self.layout: Layout = detect()
        self.manager: Manager = plan(
            driver, self.layout, self.document, id, systemd_annotations, rootless
        )
        self.device_rules = normalise((self.linux.get("resources") or {}).get("devices") or [])
        devices.check(self.manager, self.device_rules)
        self.rdt: Any = None  # a Group of ocirt.cgroup.intel_rdt
        if "intelRdt" in self.linux:
            from ocirt.cgroup import intel_rdt

            self.rdt = intel_rdt.plan(self.linux["intelRdt"], id)
        self.user: Any = None  # a UserNamespace of ocirt.runtime.user_namespace
        if self.namespaces.has("user"):
            from ocirt.runtime.user_namespace import UserNamespace

            self.user = UserNamespace(self.document)
        self.net_devices: Any = None  # a NetDevices of ocirt.runtime.net_devices
        self.fds: dict[int, int] = {}
        self.state = new_state(id, config)
        self.state.cgroup = self.manager.state()
        self.state.systemd_cgroup = driver == "systemd"
        self.container: Container

    def compile_filter(self, store: Store) -> Filter | None:
        """Of linux.seccomp. Raises OcirtError."""
        if self.linux.get("seccomp"):
            store.make_root()  # compiled filters are kept there
        return filter_of(self.linux, store.root)

    def claim(self) -> None:
        """The cgroup is this container's, or nothing is left of it. Raises OcirtError."""
        try:
            self.manager.claim()
        except OcirtError:
            self.container.remove()
            raise

    def begin(self) -> None:
        """Saves what delete needs, then makes the cgroup. Raises OcirtError, OSError."""
        self.container.write_state(self.state)
        self.container.write(CONFIG, self.config.raw)
        self.manager.create()  # before pins are opened: its folders may be bind sources
        if self.notify:
            from ocirt.runtime.notify import make_folder

            make_folder(self.container)

    def join_rdt(self, pid: int) -> None:
        """Raises KernelError."""
        if self.rdt:
            self.rdt.apply(pid, self._save_rdt)

    def _save_rdt(self, state: dict[str, Any]) -> None:
        self.state.intel_rdt = state
        self.container.write_state(self.state)

    def close(self) -> None:
        """What is needed as long as it is made."""
        self.close_pins()
        self.manager.close()
        if self.user:
            self.user.close()
        if self.net_devices:
            self.net_devices.close()

    def close_pins(self) -> None:
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()
