"""The mount options idmap and ridmap, also with mappings of their own, as crun and Podman write them:
``idmap=uids=0-1000-10#10-2000-1;gids=0-1000-10``, each ``ID-IN-THE-FILE-SYSTEM-ID-ON-THE-HOST-SIZE``.
After "@" the second one is an id in the container's user namespace.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Mappings = list[dict[str, Any]]

NAMES = ("idmap", "ridmap")
_KEYS = {"uids": "uidMappings", "gids": "gidMappings"}


def parse(value: str, linux: dict[str, Any]) -> dict[str, Mappings]:
    """Both lists of mappings. Raises ValueError with what is wrong.

    ``linux``: of the container, for what is relative to its user namespace.
    """
    found: dict[str, Mappings] = {}
    for part in value.split(";"):
        name, _, text = part.partition("=")
        if name not in _KEYS or _KEYS[name] in found:
            raise ValueError("must be uids=...;gids=...")
        key = _KEYS[name]
        found[key] = [_mapping(item, linux.get(key) or []) for item in text.split("#")]
    if len(found) < len(_KEYS):
        raise ValueError("must have both uids and gids")
    return found


def _mapping(text: str, container: Mappings) -> dict[str, Any]:
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) < 11 for n in numbers):
        raise ValueError(f"{text!r} is no mapping ID-ID-SIZE")
    first, host, size = map(int, numbers)
    if text.startswith("@"):
        host = _on_host(host, size, container)
    return {"containerID": first, "hostID": host, "size": size}


def _on_host(id: int, size: int, container: Mappings) -> int:
    for mapping in container:
        offset = id - mapping["containerID"]
        if 0 <= offset and offset + size <= mapping["size"]:
            host: int = mapping["hostID"] + offset
            return host
    raise ValueError(f"@{id} and its size are not in one mapping of the container")
