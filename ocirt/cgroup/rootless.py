"""Which cgroups there are for who is rootless: those that the host has delegated, or none.

As with runc and crun: what can't be had is done without, unless config.json asks for it.
"""

from __future__ import annotations

import errno
import os

from ocirt.cgroup.layout import Layout
from ocirt.cgroup.manager import Manager, NoCgroup
from ocirt.errors import KernelError
from ocirt.host.rootless import is_rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.device_rules import Rules

_HINT = "--systemd-cgroup asks the user's systemd for one; or have one delegated (cgroups(7))"


class RootlessManager(Manager):
    """The rules for devices are the host's to set: no device can be made without its rights, and
    those that are bound are open to whom the host opens them."""

    __slots__ = ()

    def limit_devices(self, rules: Rules, current: Rules | None = None) -> None:
        if not is_rootless():  # --rootless=true
            super().limit_devices(rules, current)


class NoRootlessCgroup(NoCgroup):
    """The host has delegated none."""

    __slots__ = ()

    reason = "ocirt is not the host's root, and may make no cgroup here"
    hint = _HINT


def delegated(manager: Manager, layout: Layout, wanted: bool) -> Manager:
    """What of ``manager``'s folders ocirt may make; makes nothing. ``wanted``: linux.cgroupsPath
    says where they are to be. Raises KernelError where that can't be."""
    folders, cgroups = {}, {}
    for hierarchy in layout.hierarchies:
        name = hierarchy.name
        folder = manager.folders[name]
        barrier = _barrier(folder, hierarchy.folder(hierarchy.own), hierarchy.v2)
        if not barrier:
            folders[name], cgroups[name] = folder, manager.cgroups[name]
        elif wanted:
            text = f"make cgroup {folder}: {barrier} is not ocirt's to write to"
            raise KernelError(text, at="/linux/cgroupsPath", errno=errno.EACCES, hint=_HINT)
    if not folders:
        return NoRootlessCgroup()
    unified = manager.unified if manager.unified in folders.values() else ""
    return RootlessManager(folders, cgroups, unified, manager.pure)


def _barrier(folder: str, own: str, v2: bool) -> str:
    """What keeps ocirt from making a cgroup and moving a process there; "" if nothing does."""
    parent = folder
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if not _writable(parent, os.W_OK | os.X_OK):
        return parent
    if v2:
        # cgroup-v2.rst, "Delegation Containment": a process is moved below a common ancestor.
        ancestor = os.path.commonpath((folder, own)) if own else folder
        file = f"{ancestor}/cgroup.procs"
        if not _writable(file, os.W_OK):
            return file
    return ""


def _writable(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)
