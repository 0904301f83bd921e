"""Id-mapped mounts: uidMappings and gidMappings of a mount, its options idmap and ridmap."""

from __future__ import annotations

from ocirt.config import id_map_option
from ocirt.plan.host_work import ID_MAP, TAG_INSIDE
from ocirt.plan.program import IdMap, Pin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.mount_options import MountOptions
    from ocirt.plan.program import Plan


def id_map_of(
    plan: Plan, mount: dict[str, Any], options: MountOptions, linux: dict[str, Any], at: str
) -> IdMap:
    """Of the mount at ``at``. Without mappings of its own it is that of the container's user
    namespace: its files are owned by whom they are owned by in the image."""
    position, name, value = options.id_map or (-1, "", "")
    place = f"{at}/options/{position}" if options.id_map else f"{at}/uidMappings"
    recursive = name == "ridmap"
    if value:
        mappings = id_map_option.parse(value, linux)
    elif mount.get("uidMappings"):
        mappings = mount
    elif "user namespace" in plan.slot_names:  # it is joined
        return IdMap([], [], recursive, place, plan.slot("user namespace"))
    else:
        mappings = linux
    uids, gids = (rows(mappings[key]) for key in ("uidMappings", "gidMappings"))
    return IdMap(uids, gids, recursive, place)


def map_inside(plan: Plan, slot: int, path: str, id_map: IdMap, at: str, note: str) -> None:
    """The host maps the mount in ``slot``, a copy of what the container has at ``path``: it alone
    has the right to, where the container has a user namespace (mount_setattr(2))."""
    pin = Pin(slot, "inside", f"/{path}", at)
    pin.id_map = id_map
    plan.add("SEND", slot, TAG_INSIDE + len(plan.inside), at=id_map.at, note=note)
    plan.inside.append(pin)
    plan.sync(ID_MAP, id_map.at)


def rows(mappings: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """(first id inside, first id outside, how many) of a list of LinuxIDMapping."""
    return [(m["containerID"], m["hostID"], m["size"]) for m in mappings]
