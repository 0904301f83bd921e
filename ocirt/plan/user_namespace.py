"""Who the set-up process of a container in a user namespace is."""

from __future__ import annotations

from ocirt.plan.groups import set_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.program import Plan


def set_up_ids(linux: dict[str, Any], process: dict[str, Any]) -> tuple[int, int]:
    """(uid, gid) that sets a container up: its root, or where that one is not mapped, the user
    of its process, as crun does it. No mappings: those of a namespace that is joined."""
    user = process.get("user") or {}
    found = []
    for key, name in (("uidMappings", "uid"), ("gidMappings", "gid")):
        mappings = linux.get(key)
        root = not mappings or any(m["containerID"] == 0 for m in mappings)
        found.append(0 if root else user.get(name) or 0)
    return found[0], found[1]


def become_root(
    plan: Plan, linux: dict[str, Any], process: dict[str, Any], at: str, groups: int
) -> None:
    """After the way into the user namespace: an id in it, and no group of the host's; ``groups``:
    of ocirt.plan.groups."""
    uid, gid = set_up_ids(linux, process)
    note = "user namespace"
    set_groups(plan, (), groups, at, note)
    plan.add("SETGID", gid, at=at, note=note)
    plan.add("SETUID", uid, at=at, note=note)
