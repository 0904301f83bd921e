"""root and linux.rootfsPropagation: how the root file system becomes "/".

It is attached over the "/" of the new mount namespace. The process still has the old root,
under it, until PIVOT: so absolute host paths work for createContainer hooks until then.
"""

from __future__ import annotations

import errno
import posixpath

from ocirt.errors import OcirtError
from ocirt.host.constants import (
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from ocirt.plan.namespaces import Namespaces
from ocirt.plan.ops import NO_SLOT

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


def attach_root(plan: Plan, document: dict[str, Any], bundle: str) -> int:
    """Puts the root file system over "/"; returns its slot."""
    propagation = (document.get("linux") or {}).get("rootfsPropagation") or ""
    root = plan.pin("root", "rootfs", root_path(document, bundle), _AT, recursive=True)
    host = plan.slot("host root")
    kind = MS_PRIVATE if propagation.endswith("private") else MS_SLAVE
    plan.add("OPEN_ROOT", host, at=_AT, note="root")
    # Nothing that is mounted here may reach the host. The host's own "/" is another mount:
    # this is the namespace's copy.
    plan.add("SETATTR", host, 0, 0, MS_SLAVE, AT_RECURSIVE, NO_SLOT, at=_PROPAGATION, note="root")
    plan.add("SETATTR", root, 0, 0, kind, AT_RECURSIVE, NO_SLOT, at=_PROPAGATION, note="root")
    plan.add("ATTACH", root, host, at=_AT, note="root")
    return root


def switch_root(
    plan: Plan, document: dict[str, Any], root: int, whole: list[str] | None = None
) -> None:
    """Makes the root file system the root; the old one is gone after it.

    ``whole`` is a list with --no-pivot, for hosts whose root is a ramfs: pivot_root(2) can't leave
    that one. The old mounts then stay in the namespace, out of sight. As long as a procfs or sysfs
    is seen whole there, the kernel lets a user namespace of the container's have another one, without
    masked paths: so those, at these paths, go.
    """
    host = plan.slot("host root")
    if whole is None:
        plan.add("CLOSE", host, at="")
        plan.add("PIVOT", root, at=_AT, note="root")
    else:
        in_user_namespace = Namespaces(document.get("linux") or {}).has("user")
        for path in whole:
            if in_user_namespace:
                _cover(plan, host, path)
            else:
                skip = (errno.EINVAL, errno.ENOENT)  # it went with one above it
                plan.add("UNMOUNT", path, at=_AT, note="root", skip=skip)
        plan.add("CLOSE", host, at="")
        plan.add("CHROOT", root, at=_AT, note="root")
    word = (document.get("linux") or {}).get("rootfsPropagation") or ""
    kind = {"shared": MS_SHARED, "unbindable": MS_UNBINDABLE}.get(word.removeprefix("r"))
    if word == "runbindable":
        kind = MS_UNBINDABLE
    if kind:
        # Only now: until here a shared root would have handed every mount to its peers.
        flags = AT_RECURSIVE if word.startswith("r") else 0
        plan.add("SETATTR", root, 0, 0, kind, flags, NO_SLOT, at=_PROPAGATION, note="root")


def _cover(plan: Plan, host: int, path: str) -> None:
    """There the host's mounts are locked and can't be unmounted; in the next user namespace this one
    will be so as well."""
    fs, found, cover = (plan.slot(name) for name in ("new file system", "found", "cover"))
    plan.add("OPEN", host, path.lstrip("/"), O_PATH, 0, found, at=_AT, note="root")
    plan.add("FSOPEN", "tmpfs", fs, at=_AT, note="root")
    plan.add("FSMOUNT", fs, MOUNT_ATTR_RDONLY, cover, at=_AT, note="root")
    plan.add("ATTACH", cover, found, at=_AT, note="root")
    plan.add("CLOSE", found, at="")
    plan.add("CLOSE", cover, at="")


def make_root_readonly(plan: Plan, document: dict[str, Any], root: int) -> None:
    """root.readonly, after everything that had to be made in it."""
    if document["root"].get("readonly"):
        at = "/root/readonly"
        plan.add("SETATTR", root, MOUNT_ATTR_RDONLY, 0, 0, 0, NO_SLOT, at=at, note="root")


def change_root(plan: Plan, document: dict[str, Any], bundle: str) -> int:
    """A container in ocirt's own mount namespace: nothing can be mounted without the host
    seeing it, so its root is changed and nothing else."""
    linux = document.get("linux") or {}
    for at, value in (
        ("/mounts", document.get("mounts")),
        ("/root/readonly", document["root"].get("readonly")),
        ("/linux/maskedPaths", linux.get("maskedPaths")),
        ("/linux/readonlyPaths", linux.get("readonlyPaths")),
        ("/linux/rootfsPropagation", linux.get("rootfsPropagation")),
        ("/process/terminal", document["process"].get("terminal")),
    ):
        if value:
            raise OcirtError(
                "needs a mount namespace of the container's own",
                at=at,
                hint='add {"type": "mount"} to linux.namespaces',
            )
    root = plan.pin("root", "folder", root_path(document, bundle), _AT)
    plan.add("CHROOT", root, at=_AT, note="root")
    return root
