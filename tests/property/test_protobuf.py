"""ocirt.criu.protobuf: what is encoded is decoded, and no bytes make it fail in another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirt.criu import messages
from ocirt.criu.protobuf import BOOL, BYTES, INT, TEXT, Malformed, decode, encode

if TYPE_CHECKING:
    from ocirt.criu.protobuf import Schema

INNER: Schema = {"text": (1, TEXT), "number": (2000, INT)}
SCHEMA: Schema = {
    "number": (1, INT),
    "switch": (16, BOOL),
    "text": (3, TEXT),
    "data": (4, BYTES),
    "message": (5, INNER),
    "numbers": (6, [INT]),
    "messages": (7, [INNER]),
}
numbers = st.integers(-(1 << 63), (1 << 63) - 1)
# Names of files: whatever the kernel allows.
names = st.binary(max_size=20).filter(lambda data: b"\0" not in data)
texts = names.map(lambda data: data.decode("utf-8", "surrogateescape"))
inner = st.fixed_dictionaries({}, optional={"text": texts, "number": numbers})
message = st.fixed_dictionaries(
    {},
    optional={
        "number": numbers,
        "switch": st.booleans(),
        "text": texts,
        "data": st.binary(max_size=200),
        "message": inner,
        "numbers": st.lists(numbers, min_size=1, max_size=3),
        "messages": st.lists(inner, min_size=1, max_size=3),
    },
)


@given(message)
def test_round_trip(wanted: dict[str, Any]) -> None:
    assert decode(SCHEMA, encode(SCHEMA, wanted)) == wanted


@given(message, message)
def test_unknown_fields_are_passed_over(wanted: dict[str, Any], other: dict[str, Any]) -> None:
    shifted = {name: (number + 100, kind) for name, (number, kind) in SCHEMA.items()}
    assert decode(SCHEMA, encode(shifted, other) + encode(SCHEMA, wanted)) == wanted


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    for schema in (SCHEMA, messages.RESPONSE, messages.REQUEST):
        try:
            decode(schema, data)
        except Malformed:
            pass


@given(message, st.data())
def test_cut_short(wanted: dict[str, Any], draw: st.DataObject) -> None:
    """At the end of a field that is a message of its own, anywhere else it is seen."""
    data = encode(SCHEMA, wanted)
    cut = draw.draw(st.integers(0, len(data)))
    try:
        found = decode(SCHEMA, data[:cut])
    except Malformed:
        return
    assert data.startswith(encode(SCHEMA, found))


@pytest.mark.parametrize(
    ("value", "data"),
    [
        # protobuf.dev, "Encoding": its own examples
        ({"number": 150}, b"\x08\x96\x01"),
        ({"number": -2}, b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ({"text": "testing"}, b"\x1a\x07testing"),
        ({"message": {"text": ""}}, b"\x2a\x02\x0a\x00"),
        ({"number": None, "numbers": [1, 2]}, b"\x30\x01\x30\x02"),
    ],
)
def test_bytes(value: dict[str, Any], data: bytes) -> None:
    assert encode(SCHEMA, value) == data


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x1a\x05ab", b"\x0b", b"\x0a\x01a", b"\x18\x01", b"\x80" * 11]
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(SCHEMA, data)


def test_nested_too_deeply() -> None:
    schema: Schema = {}
    schema["inner"] = (1, schema)
    data = b""
    for _ in range(100):
        data = encode({"inner": (1, BYTES)}, {"inner": data})
    with pytest.raises(Malformed, match="nested"):
        decode(schema, data)
