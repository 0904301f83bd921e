"""Paths in the container; linux.maskedPaths, linux.readonlyPaths and linux.sysctl."""

from __future__ import annotations

import errno
import posixpath

from ocirt.host.constants import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan

_SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


class MountLabel:
    """linux.mountLabel: the SELinux label ``text`` of the file systems that the container gets,
    "" for none, and the mount option ``option`` that gives it to them (mount(8))."""

    __slots__ = ("option", "text")

    def __init__(self, text: str, option: str = "context") -> None:
        self.text = text
        self.option = option

    def configure(self, plan: Plan, fs: int, note: str) -> None:
        """Of the new file system ``fs``."""
        if self.text:
            at = "/linux/mountLabel"
            plan.add("FSCONFIG", fs, self.option, self.text, at=at, note=note)

    def set_afterwards(self, plan: Plan, mount: int, note: str) -> None:
        """Of the root folder of ``mount``, whose file system was there before it."""
        name, at = "security.selinux", "/linux/mountLabel"
        plan.add("XATTR", mount, name, self.text.encode(), at=at, note=note)


def inside(path: str) -> str:
    """A container path as the machine wants it: clean, relative to the root, "." for it."""
    return posixpath.normpath("/" + path).lstrip("/") or "."


def open_procfs(plan: Plan, at: str) -> int:
    """A procfs that is attached nowhere: what a container mounts over /proc can't redirect
    what is written to it (CVE-2025-52881)."""
    if "procfs" not in plan.slot_names:
        fs = plan.slot("new file system")
        plan.add("FSOPEN", "proc", fs, at=at, note="own procfs")
        plan.add("FSMOUNT", fs, _SAFE, plan.slot("procfs"), at=at, note="own procfs")
    return plan.slot("procfs")


def sysctl_path(key: str) -> str:
    """``net.ipv4.ip_forward`` and ``net/ipv4/conf/eth0.1/x`` to a path below /proc/sys.

    As sysctl(8): whichever of "." and "/" comes first is the separator; the other one is
    then a "/" or "." in a name.
    """
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return key.translate({ord("."): "/", ord("/"): "."})


def compile_sysctl(plan: Plan, linux: dict[str, Any]) -> None:
    """One write for each key."""
    from ocirt.errors import pointer

    for key, value in (linux.get("sysctl") or {}).items():
        at = pointer("linux", "sysctl", key)
        path = "sys/" + sysctl_path(key)
        plan.add("WRITE", open_procfs(plan, at), path, value.encode(), at=at, note=f"sysctl {key}")


def compile_masked(plan: Plan, linux: dict[str, Any], root: int, label: MountLabel) -> None:
    """A folder gets an empty tmpfs, a file /dev/null; what is missing needs nothing.

    Both come from outside the container, never from its own /dev (CVE-2025-31133).
    """
    masked = linux.get("maskedPaths") or []
    if not masked:
        return
    at = "/linux/maskedPaths"
    null = plan.pin("null", "null", "/dev/null", at)
    empty = _empty_folder(plan, at, label)
    for index, path in enumerate(masked):
        plan.add(
            "MASK",
            root,
            inside(path),
            null,
            empty,
            at=f"{at}/{index}",
            note=f"masked path {path}",
            skip=(errno.ENOENT, errno.ENOTDIR),
        )
    plan.add("CLOSE", null, at=at)
    plan.add("CLOSE", empty, at=at)


def _empty_folder(plan: Plan, at: str, label: MountLabel) -> int:
    """A mount of it, for any number of places."""
    fs, empty = plan.slot("new file system"), plan.slot("empty folder")
    plan.add("FSOPEN", "tmpfs", fs, at=at, note="mask for folders")
    plan.add("FSCONFIG", fs, "nr_inodes", "1", at=at, note="mask for folders")
    label.configure(plan, fs, "mask for folders")
    plan.add("FSMOUNT", fs, _SAFE | MOUNT_ATTR_RDONLY, empty, at=at, note="mask for folders")
    return empty


def cover(plan: Plan, root: int, covered: list[str], at: str) -> None:
    """Folders of ``root`` get an empty one on top."""
    empty = _empty_folder(plan, at, MountLabel(""))
    for path in covered:
        note, skip = f"cover {path}", (errno.ENOENT, errno.ENOTDIR)
        plan.add("MASK", root, inside(path), empty, empty, at=at, note=note, skip=skip)
    plan.add("CLOSE", empty, at=at)


def compile_readonly(plan: Plan, linux: dict[str, Any], root: int) -> None:
    """Each path becomes a read-only mount of itself; what is missing needs nothing."""
    for index, path in enumerate(linux.get("readonlyPaths") or []):
        plan.add(
            "READONLY",
            root,
            inside(path),
            at=f"/linux/readonlyPaths/{index}",
            note=f"read-only path {path}",
            skip=(errno.ENOENT, errno.ENOTDIR),
        )
