"""Device programs, run by a small interpreter, against what the rules say."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocirt.cgroup.device_program import INSTRUCTIONS_MAX, compile_rules
from ocirt.cgroup.device_rules import ANY, MKNOD, READ, RWM, WRITE, Rule, Rules, normalise
from ocirt.errors import OcirtError

TYPES = {"b": 1, "c": 2}
U32 = 0xFFFFFFFF


def instructions(program: bytes) -> list[tuple[int, int, int, int, int]]:
    """(code, destination, source, offset, value) of each."""
    return [
        (code, registers & 15, registers >> 4, offset, value)
        for code, registers, offset, value in struct.iter_unpack("<BBhi", program)
    ]


def run(program: bytes, access_type: int, major: int, minor: int) -> int:
    """What the kernel's interpreter returns (Documentation/bpf/standardization)."""
    context = struct.pack("<III", access_type, major, minor)
    code = instructions(program)
    registers: dict[int, int] = {}
    at = 0
    while True:
        operation, to, source, offset, value = code[at]
        at += 1
        if operation == 0x95:
            return registers[0]
        elif operation == 0x61:
            assert source == 1  # the context; no other register ever has an address
            registers[to] = struct.unpack_from("<I", context, offset)[0]
        elif operation == 0xBC:
            registers[to] = registers[source] & U32
        elif operation == 0xB7:
            registers[to] = value & (1 << 64) - 1
        elif operation == 0x54:
            registers[to] &= value & U32
        elif operation == 0x74:
            registers[to] = (registers[to] & U32) >> value
        elif operation == 0x15:
            at += offset if registers[to] == value else 0
        elif operation == 0x55:
            at += offset if registers[to] != value else 0
        elif operation == 0x45:
            at += offset if registers[to] & value else 0
        else:
            raise AssertionError(f"code {operation:#x}")


def check_shape(program: bytes) -> None:
    """What the verifier wants: every jump leads forward into the program, every instruction
    can be reached, and the end is an exit."""
    code = instructions(program)
    reached = {0}
    for at, (operation, _to, _source, offset, _value) in enumerate(code):
        assert at in reached, f"{at} can't be reached"
        if operation in (0x15, 0x55, 0x45):
            assert offset >= 0
            reached.add(at + 1 + offset)
        if operation != 0x95:
            reached.add(at + 1)
    assert max(reached) == len(code) - 1


def allows(rules: Rules, kind: str, major: int, minor: int, access: int) -> bool:
    """The reference: each kind of access by itself, the last rule that matches decides."""
    for bit in (READ, WRITE, MKNOD):
        if not access & bit:
            continue
        decision = rules.default_allow
        for rule in rules.rules:
            if (
                rule.kind in ("a", kind)
                and rule.major in (ANY, major)
                and rule.minor in (ANY, minor)
                and rule.access & bit
            ):
                decision = rule.allow
        if not decision:
            return False
    return True


def decision(program: bytes, kind: str, major: int, minor: int, access: int) -> bool:
    result = run(program, access << 16 | TYPES[kind], major, minor)
    assert result in (0, 1)
    return bool(result)


some = st.sampled_from((0, 1, 2, 5, 4095))
any_rule = st.builds(
    Rule,
    st.booleans(),
    st.sampled_from("abc"),
    some | st.just(ANY),
    some | st.just(ANY) | st.just((1 << 20) - 1),
    st.integers(1, RWM),
    st.just(""),
)
any_rules = st.builds(Rules, st.booleans(), st.lists(any_rule, max_size=8))
requests = st.tuples(
    st.sampled_from("bc"), some, some | st.just((1 << 20) - 1), st.integers(0, RWM)
)


@settings(max_examples=1000)
@given(any_rules, st.lists(requests, min_size=1, max_size=20))
def test_the_program_decides_as_the_rules(
    rules: Rules, asked: list[tuple[str, int, int, int]]
) -> None:
    program = compile_rules(rules)
    check_shape(program)
    for request in asked:
        assert decision(program, *request) is allows(rules, *request)


def test_every_request_of_the_default_list() -> None:
    listed: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules = normalise(listed)
    program = compile_rules(rules)
    for kind in "bc":
        for major in (0, 1, 5, 10, 136):
            for minor in (0, 1, 2, 3, 7, 11, 200):
                for access in range(RWM + 1):
                    request = kind, major, minor, access
                    assert decision(program, *request) is allows(rules, *request), request
    assert decision(program, "c", 1, 3, READ | WRITE)
    assert not decision(program, "c", 1, 11, READ)
    assert decision(program, "b", 8, 0, MKNOD)


def test_access_by_several_rules() -> None:
    rules = Rules(False, [Rule(True, "c", ANY, 3, READ, ""), Rule(True, "c", 1, ANY, WRITE, "")])
    program = compile_rules(rules)
    assert decision(program, "c", 1, 3, READ | WRITE)
    assert not decision(program, "c", 1, 4, READ | WRITE)
    assert not decision(program, "b", 1, 3, READ)


def test_a_denial_of_a_part_denies_the_whole() -> None:
    """runc's and crun's programs allow to open this device for reading and writing."""
    program = compile_rules(Rules(True, [Rule(False, "c", 1, 3, WRITE, "")]))
    assert not decision(program, "c", 1, 3, READ | WRITE)
    assert decision(program, "c", 1, 3, READ)


def test_access_that_is_not_known_yet() -> None:
    """A kernel with more kinds of access: what nothing allows is denied."""
    program = compile_rules(normalise([]))
    assert run(program, (8 | READ) << 16 | TYPES["c"], 1, 3) == 0
    assert run(program, READ << 16 | 7, 1, 3) == 0


def test_all_allowed_or_denied() -> None:
    for default in (False, True):
        program = compile_rules(Rules(default, []))
        check_shape(program)
        assert decision(program, "b", 8, 1, READ) is default


def test_too_many_rules() -> None:
    def many(count: int) -> Rules:
        return Rules(False, [Rule(True, "c", n % 4096, n, RWM, "") for n in range(count)])

    most = compile_rules(many(583))
    assert len(most) // 8 <= INSTRUCTIONS_MAX
    check_shape(most)
    assert decision(most, "c", 582, 582, RWM)
    with pytest.raises(OcirtError, match="too many rules: 2000 make a program of"):
        compile_rules(many(2000))
