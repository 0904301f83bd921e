"""What of a container's file system is the host's: a checkpoint has only its name.

CRIU calls such a mount by a key, which here is, as with the peers, the path in the container; the
null device of masked files is /dev/null. Whoever restores says what each key is.
"""

from __future__ import annotations

import os
import stat

from ocirt.cgroup.mounts import cgroup_mounts
from ocirt.errors import OcirtError, StateError
from ocirt.host import kernel
from ocirt.host.constants import RESOLVE_IN_ROOT
from ocirt.host.mountinfo import mounts
from ocirt.plan.container import Request, compile_create
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.paths import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.layout import Layout
    from ocirt.cgroup.manager import Manager
    from ocirt.host.mountinfo import Mount
    from ocirt.plan.program import Pin, Plan
    from ocirt.seccomp.filter import Filter

NULL = "/dev/null"


def compile_plan(
    document: dict[str, Any],
    bundle: str,
    layout: Layout,
    manager: Manager,
    filter: Filter | None = None,
) -> Plan:
    """The plan of such a container, for its pins. Raises OcirtError, also for what CRIU can't do."""
    linux = document.get("linux") or {}
    kinds = {n["type"] for n in linux.get("namespaces") or []}
    if "mount" not in kinds:
        text = "criu needs a container with a mount namespace of its own"
        raise OcirtError(text, at="/linux/namespaces")
    namespaces = Namespaces(linux)
    for kind, (_path, at) in namespaces.joined.items():
        # CRIU takes a user namespace for the container's, and looks at the others as its root.
        if kind == "user" or "user" in namespaces.new:
            what = "" if kind == "user" else f" and a {kind} namespace"
            text = f"criu can't save a user namespace{what} that is not the container's own"
            raise OcirtError(text, at=at)
    plan = compile_create(
        Request(
            document,
            bundle,
            lambda: cgroup_mounts(layout, manager, kinds),
            filter=filter,
        )
    )
    for pin in (*plan.pins, *plan.inside):
        if pin.id_map:
            raise OcirtError("criu does not know id-mapped mounts", at=pin.at)
    return plan


def destination(pin: Pin) -> str:
    """Where in the container the pinned mount is attached; "" for what is none."""
    if pin.kind == "device":
        return pin.path
    return pin.detail if pin.kind == "tree" else ""


def key_of(path: str) -> str:
    """``path``, unless it can't be a key: CRIU reads ``mnt[KEY]:VALUE``, and what comes after a
    first "]:" would be the host's file that is mounted (CVE-2026-119101, CVE-2026-115520)."""
    if "]" in path:
        raise StateError(f"criu can't handle a mount at {path}: its name has a ]")
    return path


def found_in(pid: int, plan: Plan, document: dict[str, Any]) -> dict[str, str]:
    """{path of a mount in the container of ``pid``: its key}, of every external one."""
    seen = mounts(pid)
    by_id = {mount.words[0]: mount for mount in seen}
    keys: dict[str, str] = {}
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for pin in plan.pins:
            place = destination(pin)
            mount = _mount_at(root, place, by_id)[0] if place else None
            if mount:
                for each in (mount, *_below(mount, seen)):
                    keys[each.point] = key_of(each.point)
        for path in (document.get("linux") or {}).get("maskedPaths") or []:
            mount, mode = _mount_at(root, path, by_id)
            if mount and stat.S_ISCHR(mode):
                keys[key_of(mount.point)] = NULL
    finally:
        os.close(root)
    keys.pop("/", None)
    return keys


def _mount_at(root: int, path: str, by_id: dict[str, Mount]) -> tuple[Mount | None, int]:
    """The mount that ``path`` is in, and the type of the file there; (None, 0): it is not there."""
    try:
        fd = kernel.openat2(root, inside(path), os.O_PATH, RESOLVE_IN_ROOT)
    except OSError:
        return None, 0
    try:
        return by_id.get(mount_id(fd)), os.fstat(fd).st_mode
    finally:
        os.close(fd)


def mount_id(fd: int, pid: int | str = "self") -> str:
    """Of the mount that a descriptor of a process was opened in (proc_pid_fdinfo(5))."""
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("mnt_id:"):
                return line.split()[1]
    return ""


def _below(mount: Mount, seen: list[Mount]) -> list[Mount]:
    """What is mounted below ``mount``, in whatever depth."""
    found = [each for each in seen if each.words[1] == mount.words[0] and each is not mount]
    return [*found, *(deeper for each in found for deeper in _below(each, seen))]
