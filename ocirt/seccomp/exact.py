"""Rules with conditions that libseccomp (2.5 at least) can't be trusted with.

It merges all rules for a call into one tree, and where they overlap the tree may decide otherwise
than any of the rules: with "argument 0 is not 0" and "argument 0 is not 1 and argument 4 is less
than 5" it applies to calls that neither is for. So such calls are decided before its filter, one
rule after the other; the first that holds counts.
"""

from __future__ import annotations

from ocirt.seccomp.bpf import (
    AND,
    ARGUMENTS,
    IF_EQUAL,
    IF_GREATER,
    IF_NOT_LESS,
    JUMP,
    LOAD,
    RETURN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.seccomp.bpf import Instruction

    Condition = tuple[int, int, int, int]  # argument, operator, value, second value
    Rule = tuple[list[Condition], int]  # and the action where all hold

_NE, _LT, _LE, _EQ, _GE, _GT, _MASKED_EQ = range(1, 8)
_PASS, _FAIL = -1, -2  # places to skip to: the next condition, the next rule
_LOW = (1 << 32) - 1


def is_simple(rules: list[Rule]) -> bool:
    """Is libseccomp right about all rules of a call? One rule, or one argument with several
    values."""
    simple = all(len(cs) == 1 and cs[0][1] == _EQ for cs, _ in rules)
    return len(rules) < 2 or (simple and len({cs[0][0] for cs, _ in rules}) == 1)


def decide(call: int, rules: list[Rule], default: int, wide: bool) -> list[Instruction]:
    """What becomes of one call, whose number is loaded (and stays so for others). ``wide``:
    arguments have 64 bits."""
    body: list[Instruction] = []
    for conditions, action in rules:
        body += _rule(conditions, action, wide)
    body.append((RETURN, 0, 0, default))
    return [(IF_EQUAL, 1, 0, call), (JUMP, 0, 0, len(body)), *body]


def _rule(conditions: list[Condition], action: int, wide: bool) -> list[Instruction]:
    blocks = [_condition(*condition, wide) for condition in conditions]
    size = sum(map(len, blocks)) + 1
    found: list[Instruction] = []
    for block in blocks:
        end = len(found) + len(block)
        for code, yes, no, k in block:
            here = len(found) + 1
            places = {_PASS: end - here, _FAIL: size - here}
            found.append((code, places.get(yes, yes), places.get(no, no), k))
    return [*found, (RETURN, 0, 0, action)]


def _condition(
    argument: int, operator: int, value: int, second: int, wide: bool
) -> list[Instruction]:
    """Jumps to _PASS or _FAIL, or falls through where it holds."""
    place, mask = ARGUMENTS + 8 * argument, 0
    if operator == _MASKED_EQ:
        value, mask = second & value, value
    parts: list[Instruction] = []
    if wide:
        parts += [(LOAD, 0, 0, place + 4), *_upper(operator, value >> 32, mask >> 32)]
    return [*parts, (LOAD, 0, 0, place), *_lower(operator, value & _LOW, mask & _LOW)]


def _upper(operator: int, value: int, mask: int) -> list[Instruction]:
    """The upper half decides, unless it is equal."""
    if operator == _EQ:
        return [(IF_EQUAL, 0, _FAIL, value)]
    if operator == _NE:
        return [(IF_EQUAL, 0, _PASS, value)]
    if operator == _MASKED_EQ:
        return [(AND, 0, 0, mask), (IF_EQUAL, 0, _FAIL, value)]
    greater, less = (_PASS, _FAIL) if operator in (_GT, _GE) else (_FAIL, _PASS)
    return [(IF_GREATER, greater, 0, value), (IF_EQUAL, 0, less, value)]


def _lower(operator: int, value: int, mask: int) -> list[Instruction]:
    if operator == _MASKED_EQ:
        return [(AND, 0, 0, mask), (IF_EQUAL, 0, _FAIL, value)]
    code = {_EQ: IF_EQUAL, _NE: IF_EQUAL, _GT: IF_GREATER, _LE: IF_GREATER}.get(
        operator, IF_NOT_LESS
    )
    negated = operator in (_NE, _LE, _LT)
    return [(code, _FAIL, 0, value) if negated else (code, 0, _FAIL, value)]
