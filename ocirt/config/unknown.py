"""Members that the specification does not know. It has them ignored (config.md,
"Extensibility"); whoever wrote one meant something. Only ``ocirt check`` looks for them."""

from __future__ import annotations

from ocirt.config.schema_tables import CONFIG, NODES
from ocirt.config.words import did_you_mean
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def unknown_fields(document: Any) -> list[OcirtError]:
    """A warning for each, with the name that may have been meant. Any document will do:
    what has the wrong type is passed over."""
    found: list[OcirtError] = []
    _walk(document, CONFIG, "", found)
    return found


def _walk(value: Any, index: int, at: str, found: list[OcirtError]) -> None:
    node = NODES[index]
    if node[0] == "array" and isinstance(value, list):
        for position, item in enumerate(value):
            _walk(item, node[1], f"{at}/{position}", found)
    elif node[0] == "object" and isinstance(value, dict):
        _, members, _, others = node
        for name, item in value.items():
            inner = members.get(name, others)
            if inner is not None:
                _walk(item, inner, at + pointer(name), found)
            elif members:  # without any, the object is free in form
                hint = did_you_mean(name, members)
                found.append(OcirtError("unknown field, ignored", at=at + pointer(name), hint=hint))
