"""linux.resources for a container's cgroup, whatever versions its hierarchies have."""

from __future__ import annotations

import os

from ocirt import log
from ocirt.cgroup import folder_of, limits_v1, limits_v2
from ocirt.cgroup.limits import read_file, reader
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.cgroup.limits import Write
    from ocirt.cgroup.manager import Manager

# The groups of limits that are called otherwise than the member of linux.resources.
_MEMBERS = {"cpuset": "cpu", "priorities": "network"}
# What is written to it today's kernels throw away without an error.
_DEAF = "memory.kmem.limit_in_bytes"


def apply(manager: Manager, resources: dict[str, Any], base: str) -> None:
    """All limits but the rules for devices, or none of them.

    ``resources``: as they passed the schema and the rules; ``base``: their JSON pointer. Raises
    OcirtError at the pointer of what the host can't do.
    """
    writes = compile_writes(manager, resources, base)
    manager.write(writes, base)
    for write in writes:
        if write.file == _DEAF and not write.optional and _is_unlimited(write):
            log.warning(f"{write.at}: this kernel ignores it")


def compile_writes(manager: Manager, resources: dict[str, Any], base: str) -> list[Write]:
    """What ``apply`` would write. Raises OcirtError for what the host's version does not have."""
    writes: list[Write] = []
    groups = limits_v2.GROUPS if manager.pure else limits_v1.GROUPS
    for name, (controller, compiler) in groups.items():
        if not resources.get(_MEMBERS.get(name, name)):
            continue
        folder = manager.unified if manager.pure else folder_of(manager.folders, controller)
        if not folder and _is_on_v2(manager, name):
            controller, compiler = limits_v2.GROUPS[name]
            folder = manager.unified
        found = compiler(resources, base, reader(folder))
        for write in found:
            write.folder = folder
        writes += found
    return writes + _unified(manager, resources, base)


def _is_on_v2(manager: Manager, name: str) -> bool:
    """On a hybrid host: does version 2 have the controller that version 1 lacks?"""
    controller = limits_v2.GROUPS.get(name, ("", None))[0]
    return controller in _controllers(manager.unified)


def _unified(manager: Manager, resources: dict[str, Any], base: str) -> list[Write]:
    """linux.resources.unified: files of version 2 by their names."""
    if not resources.get("unified"):
        return []
    found = limits_v2.unified(resources, base, reader(manager.unified))
    available = [*_controllers(manager.unified), "cgroup"] if manager.unified else []
    for write in found:
        if not manager.pure and write.controller not in available:
            at = base + pointer("unified", write.file)
            missing = f"controller {write.controller}" if manager.unified else "mount"
            text = f"invalid configuration: needs cgroup v2, which has no {missing} on this host"
            raise OcirtError(text, at=at)
        write.folder = manager.unified
    return found


def _controllers(folder: str) -> list[str]:
    """Of a cgroup v2 folder; of the one above where there is none yet (``ocirt plan``)."""
    while folder and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return read_file(f"{folder}/cgroup.controllers").split() if folder else []


def _is_unlimited(write: Write) -> bool:
    return int(read_file(f"{write.folder}/{write.file}") or 0) > 1 << 62
