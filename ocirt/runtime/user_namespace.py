"""What the host does for a container in a user namespace, while its machine waits at a SYNC."""

from __future__ import annotations

from ocirt.errors import KernelError
from ocirt.host import id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def map_ids(pid: int, linux: dict[str, Any]) -> None:
    """Writes the maps of the new user namespace of process ``pid``; of one that was joined, sees
    whether it is the one that the config means. Raises KernelError."""
    joined = any(n["type"] == "user" and n.get("path") for n in linux["namespaces"])
    for key in id_maps.FILES:
        wanted, at = id_maps.rows(linux.get(key) or []), f"/linux/{key}"
        if not joined:
            id_maps.write(pid, key, wanted, at)
        elif wanted and sorted(id_maps.read(pid, key)) != sorted(wanted):
            text = "these are not the mappings of the user namespace that is joined"
            raise KernelError(text, at=at, hint="leave them out")
