"""Device rules as a program for the kernel: BPF_PROG_TYPE_CGROUP_DEVICE (linux/bpf.h).

It reads struct bpf_cgroup_dev_ctx {u32 access << 16 | type, major, minor} and returns 1 to
allow. It walks the rules from the last to the first, and keeps the access that is not decided
yet: a denial of any of it ends with 0, and when rules have allowed all of it, the end is 1.
So access may be allowed by several rules, and a denial of one part denies the whole, as in
cgroup v1. (runc's and crun's programs let a request for rw pass a rule that denies w: they
look for one rule that has all of the request.) Access of no kind, which access(2) can ask for,
is allowed: cgroup v1 allows it too, because making any node is.
"""

from __future__ import annotations

from ocirt.cgroup.device_rules import ANY, AT
from ocirt.errors import OcirtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirt.cgroup.device_rules import Rule, Rules

# Every kernel takes as many from everybody (BPF_MAXINSNS), and a jump reaches as far.
INSTRUCTIONS_MAX = 4096

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

# Codes of linux/bpf.h and bpf_common.h: class | operation | operand.
_LOAD = 0x61  # LDX | MEM | W
_MOVE = 0xBC  # ALU | MOV | X: 32 bits, the upper half becomes 0
_SET = 0xB7  # ALU64 | MOV | K
_AND = 0x54  # ALU | AND | K
_SHIFT_RIGHT = 0x74  # ALU | RSH | K
_IF_EQUAL = 0x15  # JMP | JEQ | K
_IF_BITS = 0x45  # JMP | JSET | K
_IF_NOT_EQUAL = 0x55  # JMP | JNE | K
_EXIT = 0x95  # JMP | EXIT

_RESULT, _CONTEXT, _TYPE, _ACCESS, _NUMBER = 0, 1, 2, 3, 4  # registers
_MAJOR_OFFSET, _MINOR_OFFSET = 4, 8  # in the context


def compile_rules(rules: Rules) -> bytes:
    """The program: instructions of 8 bytes each (little endian, as all our architectures are).

    Raises OcirtError for more rules than fit (about 500).
    """
    code = [
        _instruction(_LOAD, _TYPE, _CONTEXT),
        _instruction(_MOVE, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
    ]
    to_allow, to_deny = [len(code)], []  # jumps whose end is not known yet
    code.append(_instruction(_IF_EQUAL, _ACCESS, value=0))
    for rule in reversed(rules.rules):
        code += _match(rule)
        if rule.allow:
            code.append(_instruction(_AND, _ACCESS, value=~rule.access))
            to_allow.append(len(code))
            code.append(_instruction(_IF_EQUAL, _ACCESS, value=0))
        else:
            to_deny.append(len(code))
            code.append(_instruction(_IF_BITS, _ACCESS, value=rule.access))
    # The default is the first end: there the walk falls out of the rules. The other is left out
    # if nothing jumps to it: the verifier refuses code that can't be reached.
    ends = [(0, to_deny), (1, to_allow)]
    if rules.default_allow:
        ends.reverse()
    for is_default, (result, jumps) in zip((True, False), ends):
        for jump in jumps:
            code[jump] = _with_offset(code[jump], len(code) - jump - 1)
        if jumps or is_default:
            code += [_instruction(_SET, _RESULT, value=result), _instruction(_EXIT)]
    if len(code) > INSTRUCTIONS_MAX:
        text = f"too many rules: {len(rules.rules)} make a program of {len(code)} instructions"
        raise OcirtError(f"{text}, more than {INSTRUCTIONS_MAX}", at=AT)
    return b"".join(code)


def _match(rule: Rule) -> list[bytes]:
    """Jumps behind the two instructions (one for a denial) that follow, if it doesn't match.

    The numbers are loaded anew each time: the verifier would else follow every value that
    earlier comparisons left in a register, and give up at a few hundred rules.
    """
    code: list[bytes] = []
    if rule.kind != "a":
        code.append(_instruction(_IF_NOT_EQUAL, _TYPE, value=_TYPES[rule.kind]))
    for number, offset in ((rule.major, _MAJOR_OFFSET), (rule.minor, _MINOR_OFFSET)):
        if number != ANY:
            code.append(_instruction(_LOAD, _NUMBER, _CONTEXT, offset))
            code.append(_instruction(_IF_NOT_EQUAL, _NUMBER, value=number))
    end = len(code) + (2 if rule.allow else 1)
    return [
        _with_offset(part, end - index - 1) if part[0] == _IF_NOT_EQUAL else part
        for index, part in enumerate(code)
    ]


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """struct bpf_insn: u8 code, u4 destination, u4 source, s16 offset, s32 value."""
    return (
        bytes((code, source << 4 | to))
        + offset.to_bytes(2, "little", signed=True)
        + value.to_bytes(4, "little", signed=True)
    )


def _with_offset(instruction: bytes, offset: int) -> bytes:
    return instruction[:2] + offset.to_bytes(2, "little", signed=True) + instruction[4:]
