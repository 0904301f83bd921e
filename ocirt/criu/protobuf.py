"""Protocol buffers, as much of them as CRIU's RPC and its image files need
(protobuf.dev, "Encoding").

A message is a dict. Its type is a ``Schema``: {name: (number, type of the value)}, where the type
is INT, BOOL, TEXT, BYTES or another Schema, in a list if there may be many.
"""

from __future__ import annotations

import os

from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Schema = dict[str, tuple[int, Any]]

INT, BOOL, TEXT, BYTES = "int", "bool", "text", "bytes"
# Wire types: what follows a field's number.
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_VARINT_MAX = 10  # bytes
_DEPTH = 16


class Malformed(OcirtError):
    """Bytes that are no such message."""


def encode(schema: Schema, message: dict[str, Any]) -> bytes:
    """The bytes of ``message``; a value of None is left out."""
    parts = []
    for name, value in message.items():
        number, kind = schema[name]
        values = value if isinstance(kind, list) else [value]
        for each in values:
            if each is not None:
                parts.append(_field(number, kind[0] if isinstance(kind, list) else kind, each))
    return b"".join(parts)


def _field(number: int, kind: Any, value: Any) -> bytes:
    if kind in (INT, BOOL):
        return _varint(number << 3 | _VARINT) + _varint(int(value))
    if kind == TEXT:
        data = os.fsencode(value)  # paths may be anything
    elif kind == BYTES:
        data = value
    else:
        data = encode(kind, value)
    return _varint(number << 3 | _SIZED) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number as 64 bits of two's complement."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def decode(schema: Schema, data: bytes, depth: int = 0) -> dict[str, Any]:
    """The fields that ``schema`` names and ``data`` has; of one that is there twice and is no
    list, the last. Raises Malformed."""
    if depth > _DEPTH:
        raise Malformed("a protobuf message is nested too deeply")
    names = {number: (name, kind) for name, (number, kind) in schema.items()}
    found: dict[str, Any] = {}
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            raw: Any
            raw, position = _read_varint(data, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire, 0)
            if wire == _SIZED:
                size, position = _read_varint(data, position)
            elif not size:
                raise Malformed(f"a protobuf field has the wire type {wire}")
            raw = data[position : position + size]
            position += size
            if position > len(data):
                raise Malformed("a protobuf message ends in the midst of a field")
        name, kind = names.get(key >> 3, ("", None))
        if not name:
            continue
        one = kind[0] if isinstance(kind, list) else kind
        if (wire == _VARINT) != (one in (INT, BOOL)):
            raise Malformed(f"the protobuf field {name} has the wire type {wire}")
        value = _value(one, raw, depth)
        if isinstance(kind, list):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found


def _value(kind: Any, raw: Any, depth: int) -> Any:
    if kind == INT:
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == BOOL:
        return bool(raw)
    if kind == TEXT:
        if b"\0" in raw:  # where a program in C sees its end
            raise Malformed("a protobuf text has a byte 0")
        return os.fsdecode(raw)
    return raw if kind == BYTES else decode(kind, raw, depth + 1)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(_VARINT_MAX):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise Malformed("a protobuf message has a number without an end")
