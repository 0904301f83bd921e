"""Validates a document against the runtime-spec's schemas, by walking generated tables.

The keywords mean what JSON Schema (draft 4) says; tests compare the verdict with that of
``jsonschema``.
"""

from __future__ import annotations

from ocirt.config.schema_tables import CONFIG, NODES, PROCESS
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_ARTICLES = {"object": "an object", "array": "an array", "integer": "an integer"}


def validate(document: Any) -> list[OcirtError]:
    """Every problem of a config.json, each at its pointer."""
    problems: list[OcirtError] = []
    _check(CONFIG, document, (), problems)
    return problems


def validate_process(process: Any) -> list[OcirtError]:
    """The same of a process object alone."""
    problems: list[OcirtError] = []
    _check(PROCESS, process, (), problems)
    return problems


def _is(kind: str, value: Any) -> bool:
    if kind == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def _check(number: int, value: Any, path: tuple[Any, ...], problems: list[OcirtError]) -> None:
    node: dict[str, Any] = NODES[number]
    kinds = node.get("type")
    if kinds and not any(_is(kind, value) for kind in kinds):
        wanted = " or ".join(_ARTICLES.get(kind, f"a {kind}") for kind in kinds)
        _say(problems, path, f"must be {wanted}, not {_NAMES[type(value)]}")
        return
    if isinstance(value, dict):
        _check_object(node, value, path, problems)
    elif isinstance(value, list):
        if len(value) < node.get("minItems", 0):
            _say(problems, path, f"must have at least {node['minItems']} item")
        items = node.get("items")
        if items is not None:
            for index, item in enumerate(value):
                _check(items, item, (*path, index), problems)
    elif isinstance(value, str):
        pattern = node.get("pattern")
        if pattern is not None and not _matches(pattern, value):
            _say(problems, path, f"{value!r} is not of the form {_form(pattern)}")
    elif value is not True and value is not False and value is not None:
        _check_number(node, value, path, problems)
    if "enum" in node and value not in node["enum"]:
        _say(problems, path, f"{value!r} is none of {', '.join(map(str, node['enum']))}")
    for other in node.get("allOf", ()):
        _check(other, value, path, problems)
    if "anyOf" in node:
        _check_any(node["anyOf"], value, path, problems)


def _check_object(
    node: dict[str, Any], value: dict[str, Any], path: tuple[Any, ...], problems: list[OcirtError]
) -> None:
    for key in node.get("required", ()):
        if key not in value:
            _say(problems, path, f"{key} is missing")
    properties = node.get("properties", {})
    members = node.get("members")
    for key, item in value.items():
        inner = properties.get(key)
        if inner is not None:
            _check(inner, item, (*path, key), problems)
        elif members is not None and key:
            _check(members, item, (*path, key), problems)


def _check_number(
    node: dict[str, Any], value: float, path: tuple[Any, ...], problems: list[OcirtError]
) -> None:
    if "minimum" in node and value < node["minimum"]:
        _say(problems, path, f"{value} is below the least value {node['minimum']}")
    if "maximum" in node and value > node["maximum"]:
        _say(problems, path, f"{value} is above the greatest value {node['maximum']}")


def _check_any(
    numbers: list[int], value: Any, path: tuple[Any, ...], problems: list[OcirtError]
) -> None:
    """One of them must hold; if none does, the one with the fewest complaints explains it."""
    best: list[OcirtError] | None = None
    for number in numbers:
        found: list[OcirtError] = []
        _check(number, value, path, found)
        if not found:
            return
        if best is None or len(found) < len(best):
            best = found
    problems += best or []


def _matches(pattern: Any, value: str) -> bool:
    if isinstance(pattern, tuple):
        prefix, characters, least, most = pattern
        rest = value[len(prefix) :]
        return (
            value.startswith(prefix)
            and least <= len(rest) <= most
            and all(character in characters for character in rest)
        )
    import re

    return re.search(pattern, value) is not None


def _form(pattern: Any) -> str:
    return f"{pattern[0]}[{pattern[1]}]" if isinstance(pattern, tuple) else str(pattern)


def _say(problems: list[OcirtError], path: tuple[Any, ...], text: str) -> None:
    problems.append(OcirtError(text, at=pointer(*path)))
