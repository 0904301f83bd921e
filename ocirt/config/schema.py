"""A document against the specification's schema: the tables of schema_tables.py, walked.

The same verdict as jsonschema has, in a fraction of the time that importing it takes
(tests/property/test_validator.py compares the two).
"""

from __future__ import annotations

from ocirt.config.schema_tables import CONFIG, NODES, PROCESS
from ocirt.errors import OcirtError, pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    float: "a number with a fraction",
    bool: "a boolean",
    type(None): "null",
}
# JSON's words for the types; exact ones, because a Python bool is an int as well.
_TYPES: dict[str, type[Any]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
}
_WORDS_SHOWN = 10


def validate(document: Any) -> list[OcirtError]:
    """Everything in a config.json that the schema forbids; nothing if it is valid."""
    problems: list[OcirtError] = []
    _walk(document, CONFIG, "", problems)
    return problems


def validate_process(process: Any) -> list[OcirtError]:
    """The same for a process object on its own: pointers start at it."""
    problems: list[OcirtError] = []
    _walk(process, PROCESS, "", problems)
    return problems


def validate_resources(resources: Any) -> list[OcirtError]:
    """The same for the linux.resources of a config.json on its own."""
    problems: list[OcirtError] = []
    linux = NODES[CONFIG][1]["linux"]
    _walk(resources, NODES[linux][1]["resources"], "", problems)
    return problems


def _walk(value: Any, index: int, at: str, problems: list[OcirtError]) -> None:
    node = NODES[index]
    kind = node[0]
    wanted: type[Any] = _TYPES[kind]
    if type(value) is not wanted:
        problems.append(_problem(at, f"must be {_NAMES[wanted]}, not {_NAMES[type(value)]}"))
    elif kind == "object":
        _object(value, node, at, problems)
    elif kind == "array":
        for position, item in enumerate(value):
            _walk(item, node[1], f"{at}/{position}", problems)
        if len(value) < node[2]:
            problems.append(_problem(at, f"needs {node[2]} or more items"))
    elif kind == "string":
        if node[1] or node[2]:
            _string(value, node, at, problems)
    elif kind == "integer":
        _, least, greatest = node
        if least is not None and value < least:
            problems.append(_problem(at, f"must be at least {least}"))
        elif greatest is not None and value > greatest:
            problems.append(_problem(at, f"must be at most {greatest}"))


def _object(
    value: dict[str, Any], node: tuple[Any, ...], at: str, problems: list[OcirtError]
) -> None:
    _, members, required, others = node
    for name in required:
        if name not in value:
            problems.append(_problem(at + pointer(name), "is required"))
    for name, member in value.items():
        index = members.get(name, others)
        if index is not None:
            _walk(member, index, at + pointer(name), problems)


def _string(value: str, node: tuple[Any, ...], at: str, problems: list[OcirtError]) -> None:
    _, words, pattern = node
    if words and value not in words:
        from ocirt.config.words import did_you_mean

        known = ", ".join(words) if len(words) <= _WORDS_SHOWN else "the known words"
        text = f"{shown(value)} is none of {known}"
        problems.append(_problem(at, text, did_you_mean(value, words)))
    if pattern and not _matches(value, pattern[1]):
        problems.append(_problem(at, f"{shown(value)} does not match {pattern[0]}"))


def _matches(value: str, parts: tuple[tuple[str, bool, int, int | None], ...]) -> bool:
    """Each part takes all it can (tools/generate_validator.py makes sure that this is right)."""
    index = 0
    for chars, negated, least, most in parts:
        end = index
        limit = len(value) if most is None else min(len(value), index + most)
        while end < limit and (value[end] in chars) is not negated:
            end += 1
        if end - index < least:
            return False
        index = end
    return index == len(value)


def shown(value: str) -> str:
    """A string in an error: in quotes, on one line, not too long."""
    return repr(value) if len(value) <= 80 else repr(value[:77]) + "..."


def _problem(at: str, message: str, hint: str = "") -> OcirtError:
    return OcirtError(message, at=at, hint=hint)
