"""root and linux.rootfsPropagation: how the root file system becomes "/".

It is attached where it is on the host, as seen in the new mount namespace: hooks that join that
one and mount something in the container know it by this path (config.md, "createRuntime Hooks").
Then PIVOT makes it the root. Until then absolute host paths work for createContainer hooks.
"""

from __future__ import annotations

import errno
import posixpath

from ocirt.host.constants import (
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from ocirt.plan.host_work import ROOT_MOUNT, TAG_ROOT, TAG_UNDER
from ocirt.plan.ops import NO_SLOT
from ocirt.plan.paths import cover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan

O_PATH = 0o10000000
_AT = "/root/path"
_PROPAGATION = "/linux/rootfsPropagation"


def root_path(document: dict[str, Any], bundle: str) -> str:
    """The absolute host path of the root file system (config.md, "Root")."""
    return posixpath.normpath(posixpath.join(bundle, document["root"]["path"]))


def attach_root(plan: Plan, document: dict[str, Any], bundle: str, pivot: bool) -> int:
    """Puts the root file system over its host path; returns its slot. Over "/" where a user
    namespace may not go to that path, or a chroot hides it, and with --no-pivot, so that nobody
    finds a way back to the old root."""
    propagation = (document.get("linux") or {}).get("rootfsPropagation") or ""
    path = root_path(document, bundle)
    root = plan.pin("root", "rootfs", path, _AT, recursive=True)
    host, target = plan.slot("host root"), plan.slot("target")
    kind = MS_PRIVATE if propagation.endswith("private") else MS_SLAVE
    plan.add("OPEN_ROOT", host, at=_AT, note="root")
    # Nothing that is mounted here may reach the host. The host's own "/" is another mount:
    # this is the namespace's copy.
    plan.add("SETATTR", host, 0, 0, MS_SLAVE, AT_RECURSIVE, NO_SLOT, at=_PROPAGATION, note="root")
    plan.add("SETATTR", root, 0, 0, kind, AT_RECURSIVE, NO_SLOT, at=_PROPAGATION, note="root")
    plan.add("OPEN", host, ".", O_PATH, 0, target, at=_AT, note="root")
    if pivot and path != "/":
        skip = (errno.EACCES, errno.ENOENT)
        plan.add("OPEN", host, path.lstrip("/"), O_PATH, 0, target, at=_AT, note="root", skip=skip)
    plan.add("ATTACH", root, target, at=_AT, note="root")
    return root


def switch_root(plan: Plan, root: int, pivot: bool, covered: list[str]) -> None:
    """Makes the root file system the root; the old one is gone after it.

    ``pivot`` is false with --no-pivot, for hosts whose root is a ramfs: pivot_root(2) can't
    leave that one. It stays below the new one then, and with it what is mounted there. Whole
    procfs and sysfs, ``covered``, would allow user namespaces that the container makes to mount
    new ones without its masks, so they are covered.
    """
    host = plan.slot("host root")
    if covered and not pivot:
        cover(plan, host, covered, _AT)
    plan.add("CLOSE", host, at="")
    plan.add("PIVOT" if pivot else "CHROOT", root, at=_AT, note="root")


def propagate(plan: Plan, document: dict[str, Any], root: int) -> None:
    """linux.rootfsPropagation, when nothing more is mounted: until then a shared root would
    hand every mount to its peers, and of an unbindable one no path could be made read-only."""
    word = (document.get("linux") or {}).get("rootfsPropagation") or ""
    kind = {"shared": MS_SHARED, "unbindable": MS_UNBINDABLE}.get(word.removeprefix("r"))
    if kind:
        flags = AT_RECURSIVE if word.startswith("r") else 0
        plan.add("SETATTR", root, 0, 0, kind, flags, NO_SLOT, at=_PROPAGATION, note="root")


def make_root_readonly(plan: Plan, document: dict[str, Any], root: int) -> None:
    """root.readonly, after everything that had to be made in it."""
    if document["root"].get("readonly"):
        at = "/root/readonly"
        plan.add("SETATTR", root, MOUNT_ATTR_RDONLY, 0, 0, 0, NO_SLOT, at=at, note="root")


def needs_mounts(document: dict[str, Any]) -> bool:
    """Is there more to do than to change the root?"""
    linux = document.get("linux") or {}
    return bool(
        document.get("mounts")
        or document["root"].get("readonly")
        or linux.get("maskedPaths")
        or linux.get("readonlyPaths")
        or document["process"].get("terminal")
    )


def change_root(plan: Plan, document: dict[str, Any], bundle: str) -> int:
    """In ocirt's own mount namespace: the host's root file system stays as it is."""
    root = plan.pin("root", "folder", root_path(document, bundle), _AT)
    plan.add("CHROOT", root, at=_AT, note="root")
    return root


def mount_root(plan: Plan, document: dict[str, Any], bundle: str) -> int:
    """The same for a container that has mounts: the host gets them. They are all below a copy of the
    root file system over itself, which the host knows before it is there, so that delete can take it
    away (ocirt.host.root_mount). Returns its slot.

    Below it is another copy, of this mount alone: where the host's is a shared one, that is all that
    other namespaces get, and they lose it again with the host.
    """
    note = "root"
    place = plan.pin("place", "folder", root_path(document, bundle), _AT)
    under, root = plan.slot("under root"), plan.slot("root")
    for slot, recursive, tag in ((under, 0, TAG_UNDER), (root, 1, TAG_ROOT)):
        plan.add("CLONE_TREE", place, recursive, slot, at=_AT, note=note)
        # What happens below it must not happen to what it was copied from.
        plan.add("SETATTR", slot, 0, 0, MS_PRIVATE, AT_RECURSIVE, NO_SLOT, at=_AT, note=note)
        plan.add("SEND", slot, tag, at=_AT, note=note)
    plan.sync(ROOT_MOUNT, _AT)
    plan.add("ATTACH", under, place, at=_AT, note=note)
    plan.add("SETATTR", under, 0, 0, MS_PRIVATE, 0, NO_SLOT, at=_AT, note=note)
    plan.add("ATTACH", root, under, at=_AT, note=note)
    plan.add("CLOSE", under, at="")
    plan.add("CLOSE", place, at="")
    return root
