"""Id-mapped mounts: uidMappings and gidMappings of a mount, its options idmap and ridmap."""

from __future__ import annotations

from ocirt.config import id_map_option
from ocirt.plan.program import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirt.plan.mount_options import MountOptions
    from ocirt.plan.program import Plan


def id_map_of(
    plan: Plan, mount: dict[str, Any], options: MountOptions, linux: dict[str, Any], at: str
) -> IdMap | None:
    """Of the mount at ``at``, None where it has none. Without mappings of its own it is that of
    the container's user namespace: its files are owned by whom they are owned by in the image."""
    position, name, value = options.id_map or (-1, "", "")
    place = f"{at}/options/{position}" if options.id_map else f"{at}/uidMappings"
    recursive = name == "ridmap"
    if value:
        mappings = id_map_option.parse(value, linux)
    elif mount.get("uidMappings"):
        mappings = mount
    elif not options.id_map:
        return None
    elif "user namespace" in plan.slot_names:  # it is joined
        return IdMap([], [], recursive, place, plan.slot("user namespace"))
    else:
        mappings = linux
    uids, gids = (rows(mappings[key]) for key in ("uidMappings", "gidMappings"))
    return IdMap(uids, gids, recursive, place)


def rows(mappings: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """(first id inside, first id outside, how many) of a list of LinuxIDMapping."""
    return [(m["containerID"], m["hostID"], m["size"]) for m in mappings]
