"""Checks a Plan before it is sent: the machine checks the same again, byte by byte.

A plan that fails here is a fault of a compiler, never of a config.
"""

from __future__ import annotations

from ocirt.plan.ops import (
    FILTER_STEP,
    FILTER_STEPS_MAX,
    NO_SLOT,
    SLOT,
    SLOT_OPT,
    SLOT_OUT,
    SLOTS,
)
from ocirt.plan.program import SYNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.plan.program import Instruction, Plan


class PlanFault(Exception):
    """(index of the operation, what is wrong with it)"""


def verify(plan: Plan) -> None:
    """Raises PlanFault unless every slot is surely defined when used, and every skip stays in
    its segment.

    A slot defined by an operation that may be skipped counts as defined only as far as the
    skip reaches.
    """
    defined = {pin.slot for pin in plan.pins}
    for first, instructions, _name in plan.segments():
        defined = _segment(first, instructions, defined)


def _segment(first: int, instructions: list[Instruction], before: set[int]) -> set[int]:
    defined = set(before)
    # Where a skip lands: the slots that are defined whichever way it was reached.
    landing: dict[int, set[int]] = {}
    for index, instruction in enumerate(instructions):
        if index in landing:
            defined &= landing.pop(index)
        where = f"operation {first + index} {instruction.op.name}"
        if instruction.op is SYNC:
            raise PlanFault(f"{where}: a SYNC inside a segment")
        _operands(where, instruction, defined)
        if instruction.op.name == "SECCOMP":
            _filter(where, instruction)
        if instruction.skip:
            target = index + 1 + instruction.over
            if target > len(instructions):
                raise PlanFault(f"{where}: skips over the end of its segment")
            landing[target] = landing.get(target, set(defined)) & defined
        _effects(instruction, defined)
    return defined & landing.pop(len(instructions), defined)


def _operands(where: str, instruction: Instruction, defined: set[int]) -> None:
    for (name, kind), value in zip(instruction.op.operands, instruction.values):
        if kind in (SLOT, SLOT_OPT, SLOT_OUT):
            if kind == SLOT_OPT and value == NO_SLOT:
                continue
            if not isinstance(value, int) or not 0 <= value < SLOTS:
                raise PlanFault(f"{where}: {name} is no slot: {value!r}")
            if kind != SLOT_OUT and value not in defined:
                raise PlanFault(f"{where}: {name}: slot {value} is not defined here")


def _filter(where: str, instruction: Instruction) -> None:
    program = instruction.value("filter")
    assert isinstance(program, bytes)
    if not program or len(program) % FILTER_STEP or len(program) > FILTER_STEP * FILTER_STEPS_MAX:
        raise PlanFault(f"{where}: {len(program)} bytes are no filter")


def _effects(instruction: Instruction, defined: set[int]) -> None:
    name = instruction.op.name
    if name == "CLOSE" or name == "FSMOUNT":
        defined.discard(instruction.values[0])
    elif name == "KEEP":
        defined.intersection_update(v for v in instruction.values if isinstance(v, int))
    for (_n, kind), value in zip(instruction.op.operands, instruction.values):
        if kind == SLOT_OUT:
            assert isinstance(value, int)
            defined.add(value)
