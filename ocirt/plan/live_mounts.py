"""Mounts that a container gets, or loses, after create: a second machine in its mount namespace.

It has the host's rights and none of the container's namespaces but that one, so that no process of
the container's can reach it. Whatever the container does to its files meanwhile, a path stays inside.
"""

from __future__ import annotations

import posixpath

from ocirt.config.annotation_rules import mount_label_option
from ocirt.errors import OcirtError
from ocirt.host.constants import (
    CLONE_NEWNS,
    MOUNT_ATTR_RDONLY,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)
from ocirt.plan.mount_options import parse
from ocirt.plan.mounts import (
    O_PATH,
    MountContext,
    below,
    compile_mounts,
    default_propagation,
)
from ocirt.plan.ops import NO_SLOT
from ocirt.plan.paths import MountLabel, inside
from ocirt.plan.program import SYNC, Plan
from ocirt.plan.root import root_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ROOT = "the container's root can't be mounted over or unmounted"


def compile_add(mounts: list[dict[str, Any]], document: dict[str, Any], bundle: str) -> Plan:
    """``mounts`` as at create, but of fewer types; ``document``: the container's config.json.
    Raises OcirtError; pointers start with /mounts."""
    rootfs = root_path(document, bundle)
    for index, mount in enumerate(mounts):
        _check(mount, f"/mounts/{index}", bundle, rootfs)
    plan, root = _join()
    linux = document.get("linux") or {}
    context = MountContext(
        root,
        rootfs,
        bundle,
        default_propagation(linux.get("rootfsPropagation") or ""),
        linux,
        [],
        MountLabel(linux.get("mountLabel") or "", mount_label_option(document)),
    )
    compile_mounts(plan, mounts, context)
    for slot, at, note in context.readonly:
        plan.add("SETATTR", slot, MOUNT_ATTR_RDONLY, 0, 0, 0, NO_SLOT, at=at, note=note)
    for instruction in plan.instructions:
        if instruction.op is SYNC:
            raise OcirtError("only create can make such a mount", at=instruction.at)
    return plan


def compile_remove(mounts: list[dict[str, Any]]) -> Plan:
    """Of each of ``mounts`` its destination alone counts. Raises OcirtError."""
    plan, root = _join()
    # The container could send us elsewhere by a link: to what masks a file of /proc, say.
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    folder = plan.slot("folder")
    for index, mount in enumerate(mounts):
        at, note = f"/mounts/{index}/destination", f"unmount {mount['destination']}"
        parent, name = posixpath.split(inside(mount["destination"]))
        if name == ".":
            raise OcirtError(_ROOT, at=at)
        plan.add("OPEN", root, parent or ".", O_PATH, resolve, folder, at=at, note=note)
        plan.add("UMOUNT", folder, name, at=at, note=note)
    return plan


def _check(mount: dict[str, Any], at: str, bundle: str, rootfs: str) -> None:
    """The machine's own namespaces are the host's, and so would be what proc, sysfs, mqueue and cgroup
    show. A path that a file system is made of, as of a disk, it would look up in the container, who
    could have made a node of that name for any disk of the host. And what is remounted, or copied
    from the container, is what a link there leads to: /sys, which would be writable then."""
    kind, options = mount.get("type") or "", parse(mount.get("options") or [])
    bind = options.bind or kind == "bind"
    if not bind and (options.remount or kind != "tmpfs"):
        text = "a container that was created gets bind mounts and tmpfs alone"
        raise OcirtError(text, at=f"{at}/{'options' if options.remount else 'type'}")
    if bind and below(posixpath.join(bundle, mount["source"]), rootfs):
        raise OcirtError("is in the container", at=f"{at}/source")
    if inside(mount["destination"]) == ".":
        raise OcirtError(_ROOT, at=f"{at}/destination")


def _join() -> tuple[Plan, int]:
    """The plan, and the slot of the container's root."""
    plan = Plan()
    container, root = plan.pin("container", "pidfd", "", ""), plan.slot("root")
    plan.add("SETNS", container, CLONE_NEWNS, at="", note="container")
    plan.add("CLOSE", container, at="")
    plan.add("OPEN_ROOT", root, at="", note="container")
    return plan, root
