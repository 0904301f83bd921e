"""Members that no schema knows: the specification has them ignored, people mean something."""

from __future__ import annotations

from ocirt.config.schema_tables import CONFIG, NODES
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def unknown_fields(document: Any) -> list[OcirtError]:
    """A warning for each, with the name it may stand for."""
    found: list[OcirtError] = []
    _walk([CONFIG], document, (), found)
    return found


def _expand(numbers: list[int]) -> list[dict[str, Any]]:
    """The nodes and all that they consist of."""
    nodes: list[dict[str, Any]] = []
    for number in numbers:
        node: dict[str, Any] = NODES[number]
        inner = [*node.get("allOf", ()), *node.get("anyOf", ())]
        nodes += [node, *_expand(inner)]
    return nodes


def _walk(numbers: list[int], value: Any, path: tuple[Any, ...], found: list[OcirtError]) -> None:
    nodes = _expand(numbers)
    if isinstance(value, list):
        items = [node["items"] for node in nodes if "items" in node]
        for index, item in enumerate(value):
            _walk(items, item, (*path, index), found)
    if not isinstance(value, dict):
        return
    known = {key: number for node in nodes for key, number in node.get("properties", {}).items()}
    members = [node["members"] for node in nodes if "members" in node]
    for key, item in value.items():
        if key in known:
            _walk([known[key]], item, (*path, key), found)
        elif members:
            _walk(members, item, (*path, key), found)
        elif known:
            text = f"unknown field {key!r} is ignored"
            found.append(OcirtError(text, at=pointer(*path, key), hint=_similar(key, list(known))))


def _similar(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), [k.lower() for k in known], 1, 0.7)
    matches = [k for k in known if k.lower() in close]
    return f"did you mean {matches[0]}?" if matches else ""
