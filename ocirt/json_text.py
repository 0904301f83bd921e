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
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    def parse_constant(self, name: str) -> Any:
        """NaN and Infinity are not JSON (RFC 8259)."""
        raise ValueError(f"{name} is not JSON")

    def parse_float(self, digits: str) -> float:
        """1e999 would become Infinity."""
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{digits} is out of range")
        return value


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]


def loads(data: bytes | str, name: str) -> Any:
    """The value of a JSON document; ``name`` is what its errors call it. Raises OcirtError.

    Of members with the same name the last one counts, as with the peers.
    """
    text = _decode(data, name) if isinstance(data, bytes) else data
    start = _skip(text, 0)
    try:
        value, end = _scan_document(text, start)
    except StopIteration as stop:
        what = "a value is expected here"
        if text.startswith("\ufeff"):
            what = "a byte order mark is not JSON"
        raise _error(name, f"{_place(text, stop.value)}: {what}") from None
    except RecursionError:
        raise _error(name, "nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, or a number that Python refuses
        place, what = getattr(error, "pos", None), getattr(error, "msg", str(error))
        if place is not None:
            what = f"{_place(text, place)}: {what[:1].lower()}{what[1:]}"
        raise _error(name, what) from None
    end = _skip(text, end)
    if end != len(text):
        raise _error(name, f"{_place(text, end)}: extra data after the document")
    return value


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _error(name, f"{_place(before, len(before))}: not UTF-8") from None


def _scan_document(text: str, start: int) -> Any:
    try:
        return _scan(text, start)
    except SystemError:
        # _json raises json.JSONDecodeError, but (until Python 3.13) only if somebody has
        # imported json. The document is refused anyway: now there is time for that.
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
    """JSON of dicts, lists, strings, numbers, booleans and None, in ASCII.

    Lone surrogates are escaped, so that the text can be encoded whatever is in it.
    """
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
