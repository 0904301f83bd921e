"""Operations to the bytes of a segment.

The wire form is described in ``ocirt.plan.ops``.
"""

from __future__ import annotations

from ocirt.plan.ops import DATA, OPERANDS, SEGMENT_MAX, STR, STRS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.plan.program import Instruction, Value

RECORD = 8 + 8 * OPERANDS
_ZERO = b"\0" * (8 * OPERANDS)


class _Text:
    """The text area under construction; equal strings share one place."""

    __slots__ = ("buffer", "places")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.places: dict[bytes, int] = {}

    def string(self, value: str) -> int:
        data = value.encode("utf-8", "surrogateescape")
        if b"\0" in data:
            raise ValueError("a string has a NUL byte")
        place = self.places.get(data)
        if place is None:
            place = self.places[data] = len(self.buffer)
            self.buffer += data + b"\0"
        return place

    def align(self) -> int:
        self.buffer += b"\0" * (-len(self.buffer) % 8)
        return len(self.buffer)

    def strings(self, values: list[str]) -> int:
        numbers = [len(values), *(self.string(value) for value in values), 0]
        place = self.align()
        self.buffer += b"".join(number.to_bytes(8, "little") for number in numbers)
        return place

    def data(self, value: bytes) -> int:
        place = self.align()
        self.buffer += value
        return place | len(value) << 32


def _operand(text: _Text, kind: int, value: Value) -> int:
    if kind == STR:
        assert isinstance(value, str)
        return text.string(value)
    if kind == STRS:
        assert isinstance(value, list)
        return text.strings(value)
    if kind == DATA:
        assert isinstance(value, bytes)
        return text.data(value)
    assert isinstance(value, int)
    return value & 0xFFFFFFFFFFFFFFFF


def encode_segment(instructions: list[Instruction]) -> bytes:
    """The bytes of a segment. Raises ValueError for a NUL byte, OverflowError when too big."""
    text = _Text()
    records = bytearray()
    for instruction in instructions:
        op = instruction.op
        skip = (*instruction.skip, 0, 0)
        records += op.code.to_bytes(2, "little") + instruction.over.to_bytes(2, "little")
        records += skip[0].to_bytes(2, "little") + skip[1].to_bytes(2, "little")
        operands = b"".join(
            [
                _operand(text, kind, value).to_bytes(8, "little")
                for (_name, kind), value in zip(op.operands, instruction.values)
            ]
        )
        records += operands + _ZERO[len(operands) :]
    text.buffer += b"\0"
    size = 8 + len(records) + len(text.buffer)
    if size > SEGMENT_MAX:
        raise OverflowError(f"a segment of {size} bytes is over the machine's {SEGMENT_MAX}")
    head = len(instructions).to_bytes(4, "little") + len(text.buffer).to_bytes(4, "little")
    return head + bytes(records) + bytes(text.buffer)
