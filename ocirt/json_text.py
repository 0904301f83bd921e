"""JSON without the package json: that imports re, which costs more than the rest of a verb.

The scanner and the string encoder are the interpreter's own C code (module _json).
"""

from __future__ import annotations

import _json

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\n\r"
_NUMBERS = (int, float)


class _Context:
    """What _json.make_scanner reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    def parse_constant(self, name: str) -> Any:
        """NaN and Infinity are not JSON (RFC 8259)."""
        raise ValueError(f"{name} is not JSON")


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]


def loads(data: bytes | str, name: str) -> Any:
    """The value of a JSON document; ``name`` is what its errors call it. Raises OcirtError."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise _error(name, f"not UTF-8 at byte {error.start}") from None
    start = _skip(text, 0)
    try:
        value, end = _scan_document(text, start)
    except StopIteration as stop:
        where = _place(text, stop.value)
        raise _error(name, f"{where}: a JSON value is expected here") from None
    except RecursionError:
        raise _error(name, "nested too deeply") from None
    except ValueError as error:
        place = getattr(error, "pos", None)
        what = getattr(error, "msg", str(error))
        raise _error(
            name, f"{_place(text, place)}: {what}" if place is not None else what
        ) from None
    end = _skip(text, end)
    if end != len(text):
        raise _error(name, f"{_place(text, end)}: extra data after the document")
    return value


def _scan_document(text: str, start: int) -> Any:
    try:
        return _scan(text, start)
    except SystemError:
        # _json raises json.JSONDecodeError, but only if somebody has imported json. The
        # document is refused anyway: now there is time for that.
        import json.decoder  # noqa: F401

        return _scan(text, start)


def _skip(text: str, index: int) -> int:
    while index < len(text) and text[index] in _SPACE:
        index += 1
    return index


def _place(text: str, index: int) -> str:
    line = text.count("\n", 0, index) + 1
    return f"line {line} column {index - text.rfind(chr(10), 0, index)}"


def _error(name: str, what: str) -> OcirtError:
    return OcirtError(f"not valid JSON: {what}", at="", document=name)


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON of dicts, lists, strings, numbers, booleans and None, in ASCII."""
    return "".join(_write(value, indent, 0))


def _write(value: Any, indent: int | None, level: int) -> list[str]:
    if isinstance(value, str):
        return [_json.encode_basestring_ascii(value)]
    if value is None or value is True or value is False:
        return [{None: "null", True: "true", False: "false"}[value]]
    if isinstance(value, _NUMBERS):
        return [repr(value)]
    if isinstance(value, dict):
        items = [
            [_json.encode_basestring_ascii(str(key)), ":" if indent is None else ": "]
            + _write(item, indent, level + 1)
            for key, item in value.items()
        ]
        return _join("{", "}", items, indent, level)
    items = [_write(item, indent, level + 1) for item in value]
    return _join("[", "]", items, indent, level)


def _join(
    left: str, right: str, items: list[list[str]], indent: int | None, level: int
) -> list[str]:
    if not items:
        return [left + right]
    if indent is None:
        before, after, between = left, right, ","
    else:
        inner = "\n" + " " * (indent * (level + 1))
        before, between = left + inner, "," + inner
        after = "\n" + " " * (indent * level) + right
    parts = [before]
    for index, item in enumerate(items):
        if index:
            parts.append(between)
        parts += item
    parts.append(after)
    return parts
