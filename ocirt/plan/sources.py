"""The copies of mounts that a container in a user namespace gets, made in its mount namespace.

What the host has made read-only, nosuid, nodev or noexec must stay so, whatever the container's
root may do. The kernel locks these flags where a mount namespace is copied into another user
namespace (mount_namespaces(7)), and so in the copies that are made there; in copies that are made
on the host it does not.
"""

from __future__ import annotations

import errno

from ocirt.host.constants import CLONE_NEWNS
from ocirt.plan.host_work import TAG_SOURCE
from ocirt.plan.program import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirt.plan.program import Pin

O_PATH = 0o10000000
TREES = ("rootfs", "tree")
KINDS = (*TREES, "null", "device")


def compile_sources(pins: list[Pin], enter: Callable[[Plan], None] | None = None) -> Plan:
    """The program of a second machine, one with the host's rights, or one that gets its rights by
    ``enter``. It sends a copy for the pin with index i as TAG_SOURCE + i; its first pin is for the
    container's pidfd or mount namespace."""
    plan = Plan()
    note = "mounts for a user namespace"
    container = plan.pin("container", "pidfd", "", "")
    if enter:
        enter(plan)
    plan.add("SETNS", container, CLONE_NEWNS, at="/linux/namespaces", note=note)
    plan.add("CLOSE", container, at="")
    root, found, copy = (plan.slot(name) for name in ("host root", "found", "copy"))
    plan.add("OPEN_ROOT", root, at="/linux/namespaces", note=note)
    for index, pin in enumerate(pins):
        if pin.kind not in KINDS:
            continue
        path = pin.path.lstrip("/") or "."
        plan.add("OPEN", root, path, O_PATH, 0, found, at=pin.at, note=note)
        # EINVAL: a link to another mount namespace, or something is mounted below that may not
        # be left out here (a bind that is not recursive). Then the host's own copy has to do, if it
        # has no flags to be kept.
        plan.add(
            "CLONE_TREE",
            found,
            int(pin.recursive),
            copy,
            at=pin.at,
            note=note,
            skip=(errno.EINVAL,),
            over=1,
        )
        plan.add("SEND", copy, TAG_SOURCE + index, at=pin.at, note=note)
    return plan
