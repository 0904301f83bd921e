"""The bytes that ``ocirt.plan.encode`` makes of every plan: they are read back to its operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ocirt.plan.encode import RECORD, encode_segment
from ocirt.plan.ops import DATA, OPS, STR, STRS
from ocirt.plan.program import Instruction, Plan

from .test_plans import MAKERS

if TYPE_CHECKING:
    from ocirt.plan.program import Value

BY_CODE = {op.code: op for op in OPS.values()}


def decode_segment(segment: bytes) -> list[Instruction]:
    """The operations of a segment (without pointers and notes). Raises ValueError."""

    def number(offset: int, size: int) -> int:
        return int.from_bytes(segment[offset : offset + size], "little")

    count = number(0, 4)
    text = segment[8 + RECORD * count :]
    if len(text) != number(4, 4) or not text or text[-1]:
        raise ValueError("a segment's sizes do not fit together")

    def string(place: int) -> str:
        return text[place : text.index(b"\0", place)].decode("utf-8", "surrogateescape")

    def value(kind: int, operand: int) -> Value:
        if kind == STR:
            return string(operand)
        if kind == STRS:
            base = len(segment) - len(text) + operand
            return [string(number(base + 8 + 8 * i, 8)) for i in range(number(base, 8))]
        if kind == DATA:
            start = operand & 0xFFFFFFFF
            return text[start : start + (operand >> 32)]
        return operand

    found = []
    for index in range(count):
        base = 8 + RECORD * index
        op = BY_CODE.get(number(base, 2))
        if op is None:
            raise ValueError(f"operation {index} has an unknown code")
        skip = tuple(e for e in (number(base + 4, 2), number(base + 6, 2)) if e)
        values = tuple(
            value(kind, number(base + 8 + 8 * i, 8)) for i, (_n, kind) in enumerate(op.operands)
        )
        found.append(Instruction(op, values, "", "", skip, number(base + 2, 2)))
    return found


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: str(maker.__name__))
def test_segments_survive_encoding(maker: Callable[[], Plan]) -> None:
    for _first, instructions, _name in maker().segments():
        decoded = decode_segment(encode_segment(instructions))
        assert [(i.op.name, list(i.values), i.skip, i.over) for i in decoded] == [
            (i.op.name, list(i.values), i.skip, i.over) for i in instructions
        ]
