"""/dev: the default devices and links, and linux.devices (config-linux.md, "Devices")."""

from __future__ import annotations

import os
import posixpath
import stat

from ocirt.host import constants
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.ops import KIND_DIR, KIND_FILE, NO_SLOT, TARGET_NO_PROC, TARGET_ORDINARY
from ocirt.plan.paths import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan

_DEFAULT = {
    "null": constants.DEV_NULL,
    "zero": constants.DEV_ZERO,
    "full": constants.DEV_FULL,
    "random": constants.DEV_RANDOM,
    "urandom": constants.DEV_URANDOM,
    "tty": constants.DEV_TTY,
}
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_CORE = ("core", "/proc/kcore")
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def is_callers_dev(mounts: list[dict[str, Any]]) -> bool:
    """Is /dev a bind mount? Then it is the caller's, and nothing is made in it."""
    for mount in mounts:
        if inside(mount["destination"]) == "dev":
            options = mount.get("options") or []
            if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
                return True
    return False


def compile_devices(
    plan: Plan, document: dict[str, Any], root: int, rootless: bool = False
) -> None:
    """Makes every device node and link, each relative to the folder that was opened for it
    (CVE-2026-41579: a /dev that is a link to the host). ``rootless``: see Request."""
    listed = (document.get("linux") or {}).get("devices") or []
    if is_callers_dev(document.get("mounts") or []):
        return
    paths = {inside(device["path"]) for device in listed}
    bound = rootless or Namespaces(document.get("linux") or {}).has("user")
    note = "default devices"
    dev = _folder(plan, root, "dev", "/linux/devices", note, "dev")
    for name, (major, minor) in _DEFAULT.items():
        if f"dev/{name}" not in paths:
            number = os.makedev(major, minor)
            mode = stat.S_IFCHR | 0o666
            if bound:
                _bind(plan, dev, f"/dev/{name}", mode, number, "/linux/devices", note)
                continue
            plan.add("MKNOD", dev, name, mode, number, 0, 0, at="/linux/devices", note=note)
    for index, device in enumerate(listed):
        _listed(plan, device, root, dev, f"/linux/devices/{index}", bound)
    for name, target in (*_LINKS, _CORE):
        if f"dev/{name}" not in paths or name == "ptmx":
            plan.add("SYMLINK", dev, name, target, at="/linux/devices", note="links in /dev")


def _listed(plan: Plan, device: dict[str, Any], root: int, dev: int, at: str, bound: bool) -> None:
    path = inside(device["path"])
    if path == "dev/ptmx":
        return  # always the link to the container's own devpts, as with the peers
    folder, name = posixpath.split(path)
    note = f"device {device['path']}"
    slot = dev if folder == "dev" else _folder(plan, root, folder or ".", f"{at}/path", note)
    number = os.makedev(device.get("major") or 0, device.get("minor") or 0)
    mode = device.get("fileMode")
    mode = _TYPES[device["type"]] | (0o666 if mode is None else mode & 0o7777)
    uid, gid = device.get("uid") or 0, device.get("gid") or 0
    if device["type"] == "p":
        number = 0
    elif bound:
        _bind(plan, slot, device["path"], mode, number, at, note)
        return
    plan.add("MKNOD", slot, name, mode, number, uid, gid, at=at, note=note)


def _bind(plan: Plan, folder: int, path: str, mode: int, number: int, at: str, note: str) -> None:
    """The host's own node: nobody makes one that works in a user namespace (mknod(2)). Its mode
    and owner are the host's, as with the peers."""
    kind = "b" if stat.S_ISBLK(mode) else "c"
    detail = f"{kind} {os.major(number)}:{os.minor(number)}"
    node = plan.pin(f"device {path}", "device", posixpath.normpath(path), at, detail)
    target, name = plan.slot("target"), posixpath.basename(path)
    # TARGET_ORDINARY: a link here could lead to a host folder that is bound into the container.
    flags = TARGET_ORDINARY | TARGET_NO_PROC
    plan.add("TARGET", folder, name, KIND_FILE, NO_SLOT, flags, target, at=at, note=note)
    plan.add("ATTACH", node, target, at=at, note=note)
    plan.add("CLOSE", node, at=at)


def _folder(
    plan: Plan, root: int, path: str, at: str, note: str, name: str = "device folder"
) -> int:
    slot = plan.slot(name)
    plan.add("TARGET", root, path, KIND_DIR, NO_SLOT, TARGET_NO_PROC, slot, at=at, note=note)
    return slot
